# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provision a crowd of light nodes in one run, and print what that takes: time, and memory of the controller.

usage: make provision-crowd CROWD_ARGS="[--nodes N] [--forks N]..."

The nodes are containers with systemd and sshd on this machine, each with a worker of its own and an Ollama that answers
at once (light_ollama.py), behind a real RabbitMQ; so nodes and controller share its cores, and the time is a bound from
above. For each number of forks the playbook runs once more over the nodes, which then have everything; the first number
is also that of the run on bare nodes. Everything is taken away in the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))

import abandoned  # noqa: E402
import services  # noqa: E402

SCENARIO = ROOT / "extensions/molecule/crowd"
SHARED = ROOT / "extensions/molecule/shared"

#: Seconds between two looks at the memory of the controller.
_LOOK = 0.5


def family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found, children = [pid], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    for one in found:
        found += children.get(one, [])
    return found


def memory(pids: list[int]) -> int:
    """Return what processes have in memory, in KiB; pages that several of them have are counted in parts."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(size) for size in re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE))
    return total


class Watch:
    """Looks at the memory of a process and its children until they end."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most = 0
        self.processes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            pids = family(self._pid)
            self.most = max(self.most, memory(pids))
            self.processes = max(self.processes, len(pids))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def play(playbook: str, forks: int, nodes: int, *options: str) -> tuple[float, int, int, str]:
    """Run a playbook; return seconds, KiB, processes and the output."""
    limit = "--limit=" + ",".join(["hub", "localhost", *(f"node{number:02}" for number in range(1, nodes + 1))])
    command = ["ansible-playbook", playbook, f"--inventory={SCENARIO}/inventory", f"--forks={forks}", limit, *options]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        watch = Watch(process.pid)
        output = process.communicate()[0]
        watch.end()
    if process.returncode != 0:
        raise SystemExit(output[-6000:])
    return time.monotonic() - began, watch.most, watch.processes, output


def told(output: str) -> tuple[int, int, int]:
    """Return hosts, tasks that ran, and changes of a run."""
    recap = re.findall(r"^node\d+ .*?ok=(\d+) +changed=(\d+) .*?failed=0", output, re.MULTILINE)
    return len(recap), sum(int(ok) for ok, _changed in recap), sum(int(changed) for _ok, changed in recap)


def pack_stub(state: Path) -> None:
    """Pack the light Ollama as an archive like the official ones."""
    state.mkdir(parents=True, exist_ok=True)
    with tarfile.open(state / "ollama-stub.tgz", "w:gz") as archive:
        # On the node it is a program. Here it is a file without a shebang, as ansible-test wants it.
        content = b"#!/usr/bin/python3\n" + (BENCH / "light_ollama.py").read_bytes()
        entry = archive.gettarinfo(str(BENCH / "light_ollama.py"), "bin/ollama")
        entry.size = len(content)
        entry.mode, entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0o755, 0, 0, 0, "root", "root"
        archive.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=20, help="at most 40")
    parser.add_argument("--forks", type=int, action="append", help="several are tried one after the other (20)")
    options = parser.parse_args()
    forks = options.forks or [20]
    os.environ.update(
        **services.podman_environment(),
        LAB_OWNER=abandoned.owner(),
        LAB=str(ROOT / "tests/lab"),
        LAB_DEBIAN_MIRROR=os.environ.get("LEGIONIO_DEBIAN_MIRROR", "http://deb.debian.org"),
        ANSIBLE_HOST_KEY_CHECKING="false",
        ANSIBLE_PRECEDENCE="all_inventory, groups_inventory, all_plugins_inventory, groups_plugins_inventory",
    )
    pack_stub(Path(os.environ["LEGIONIO_BUILD"]) / "lab/crowd")
    hosts = [str(SHARED / "create.yml"), forks[0], options.nodes]
    broker = json.dumps({"legionio_brokers": "hubs"})
    try:
        seconds, *_others = play(*hosts)
        print(f"{options.nodes} nodes and a hub booted in {seconds:.0f} s", flush=True)
        play("legionio.ollama.provision_broker", forks[0], options.nodes, f"--extra-vars={broker}")
        for number, count in enumerate([forks[0], *forks]):
            seconds, size, processes, output = play("legionio.ollama.provision_fleet", count, options.nodes)
            done, tasks, changed = told(output)
            print(
                f"{'again' if number else 'bare'}, forks {count}: {done} nodes in {seconds:.0f} s, {tasks} tasks,"
                f" {changed} changed; the controller took {size / 1024:.0f} MiB in {processes} processes at most",
                flush=True,
            )
            if done != options.nodes or (number and changed):
                raise SystemExit(output[-6000:])
    finally:
        play(str(SHARED / "destroy.yml"), forks[0], 40)


if __name__ == "__main__":
    sys.exit(main())
