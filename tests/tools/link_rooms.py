# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the links of the daemons complete: one for each file of the shared rooms that a daemon uses.

The package of a daemon has the same files as the modules, by links, so that git holds one copy. A link to each folder
would do, and would need no care; ansible-test allows only links to files. The gateway has files of the worker's package
in the same way.

usage: python3 link_rooms.py           make what is missing, remove what leads nowhere, say what was done
       python3 link_rooms.py --check   change nothing; fail when a link is missing, wrong, or not known to git
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UTILS = "plugins/module_utils"
WORKER = "roles/fleet_worker/files/fleet_worker"
GATEWAY = "roles/fleet_gateway/files/fleet_gateway"
BLOB_SERVER = "roles/ollama_models/files/blob_server"
#: The rooms that each daemon has.
DAEMONS = {
    WORKER: ("_http", "_ollama", "_mirror", "_fleet"),
    GATEWAY: ("_http", "_ollama", "_fleet"),
    BLOB_SERVER: ("_http", "_ollama", "_mirror"),
}
#: Files of the worker that the gateway has too: the log, the notifications of systemd, and parts of the settings.
SHARED = (
    "exit_codes.py",
    "logs/__init__.py",
    "logs/log.py",
    "logs/writer.py",
    "runtime/__init__.py",
    "runtime/systemd.py",
    "settings/__init__.py",
    "settings/broker.py",
    "settings/credentials.py",
    "settings/sections.py",
    "settings/yaml_document.py",
)


def wanted(root: Path) -> dict[str, str]:
    """Every link that should be, by its path, and where it leads."""
    links = {}
    for daemon, rooms in DAEMONS.items():
        for room in rooms if (root / daemon).is_dir() or daemon == WORKER else ():
            for path in sorted((root / UTILS / room).rglob("*.py")):
                link = root / daemon / path.relative_to(root / UTILS)
                links[str(link.relative_to(root))] = os.path.relpath(path, link.parent)
    for name in SHARED if (root / GATEWAY).is_dir() else ():
        link = root / GATEWAY / name
        links[str(link.relative_to(root))] = os.path.relpath(root / WORKER / name, link.parent)
    return links


def present(root: Path) -> Iterator[str]:
    """What is at the place of the links: links, files that should be links, and links in the place of folders."""
    yield from (f"{GATEWAY}/{name}" for name in SHARED if os.path.lexists(root / GATEWAY / name))
    for top in (root / daemon / room for daemon, rooms in DAEMONS.items() for room in rooms):
        if top.is_symlink():
            yield str(top.relative_to(root))
            continue
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            yield from (str((Path(folder) / name).relative_to(root)) for name in files + linked)


def differences(root: Path) -> tuple[list[str], list[str]]:
    """Links to make, and paths to remove first."""
    links = wanted(root)
    here = set(present(root))
    right = {
        name for name in here & set(links) if (root / name).is_symlink() and os.readlink(root / name) == links[name]
    }
    return sorted(set(links) - right), sorted(here - right)


def mend(root: Path) -> list[str]:
    """Make the links what they should be; return a line for each change."""
    missing, wrong = differences(root)
    links = wanted(root)
    for name in wrong:
        if not (root / name).is_symlink():
            raise SystemExit(f"link_rooms: {name} is a file where a link belongs: move it to {UTILS}, or remove it")
        (root / name).unlink()
    for name in missing:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(links[name])
    return [f"unlinked {name}" for name in wrong if name not in missing] + [f"linked {name}" for name in missing]


def unknown_to_git(root: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--", *DAEMONS],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    return sorted(set(wanted(root)) - set(listed.split("\0")))


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        missing, wrong = differences(ROOT)
        problems = [f"{name} is missing" for name in missing]
        problems += [f"{name} is not a link of ours" for name in wrong if name not in missing]
        problems += [f"{name} is not in git" for name in unknown_to_git(ROOT) if name not in missing]
        for problem in problems:
            print(f"link_rooms: {problem}", file=sys.stderr)
        if problems:
            print("link_rooms: run `make links`, and commit roles", file=sys.stderr)
        return 1 if problems else 0
    for line in mend(ROOT):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
