# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what runs have left that ended without tidying up, and take that away: abandoned.py [--check]

Hosts, networks, file systems and directories of tests have the process in their names or labels that made them: its
number and the moment of its start, since numbers come again. What belongs to a process that lives is left alone, and so
are hosts that a person has made: those of `make demo`, and of Molecule's single commands.

Prints what it took away, or with --check what it would; then --check fails if there is something.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

#: The label of a host or network that goes with its process.
LABEL = "legionio-owner"

_MARK = re.compile(r"legionio-(?:\w+-)?(\d+[.]\d+)\b")


class Abandoned(NamedTuple):
    """Something that nobody needs any more."""

    what: str
    remove: Callable[[], None]


def owner(pid: int = 0) -> str:
    """Return how a process is called in names and labels: its number and the tick of its start.

    :param pid: of this process, if it is 0.
    :raises OSError: when there is no such process.
    """
    pid = pid or os.getpid()
    # The name of the program, in parentheses, may have spaces. The start is field 22 of proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{pid}.{fields[19]}"


def lives(name: str) -> bool:
    """Whether the process of that name is still there."""
    try:
        return owner(int(name.partition(".")[0])) == name
    except (OSError, ValueError):
        return False


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"{' '.join(command)}: {done.stderr.strip()}", file=sys.stderr)
    return done.stdout


def _as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def _listed(podman: list[str], *command: str) -> list[Any]:
    return list(json.loads(_run(*podman, *command, "--format", "json") or "[]"))


def _remover(*command: str) -> Callable[[], None]:
    return lambda: print(_run(*command), end="", file=sys.stderr)


def hosts_and_networks(podman: list[str]) -> Iterator[Abandoned]:
    """Containers first, since a network goes only without them."""
    for host in _listed(podman, "ps", "--all", "--filter", f"label={LABEL}"):
        if not lives(host["Labels"][LABEL]):
            (name,) = host["Names"]
            yield Abandoned(f"host {name}", _remover(*podman, "rm", "--force", "--volumes", "--time", "0", name))
    for network in _listed(podman, "network", "ls", "--filter", f"label={LABEL}"):
        if not lives(network["labels"][LABEL]):
            name = network["name"]
            yield Abandoned(f"network {name}", _remover(*podman, "network", "rm", "--force", name))


def file_systems() -> Iterator[Abandoned]:
    """Those that a test has mounted have the owner as their source."""
    for line in Path("/proc/mounts").read_text().splitlines():
        source, place = line.split()[:2]
        found = _MARK.fullmatch(source)
        if found and not lives(found[1]):
            path = place.replace("\\040", " ")
            yield Abandoned(f"file system {path}", _remover(*_as_root(), "umount", "--lazy", path))


def directories() -> Iterator[Abandoned]:
    for path in sorted(Path(tempfile.gettempdir()).glob("legionio-*")):
        found = _MARK.match(path.name)
        if found and not lives(found[1]):
            yield Abandoned(f"directory {path}", lambda path=path: shutil.rmtree(path, ignore_errors=True))


def main() -> int:
    import services

    podman = services.podman() if shutil.which("podman") else []
    found = [*(hosts_and_networks(podman) if podman else ()), *file_systems(), *directories()]
    for one in found:
        print(f"left by a run that has ended: {one.what}")
        if "--check" not in sys.argv[1:]:
            one.remove()
    return 1 if found and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
