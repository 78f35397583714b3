# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill `make test` in the middle, again and again, and see that nothing of it stops the next: killed_run.py [ROUNDS]

A run has hosts of Molecule, a broker, and a file system in memory when it is killed, by SIGKILL, at a moment drawn by
chance: `make` and what starts the steps, every process of it but the helpers that tidy up, or every process, as when
the machine loses its power. Then what the next run begins with (abandoned.py) is carried out, and nothing may be left:
no process, host, network, file system or directory. In the end a run is let pass.

It prints what it found, and fails if a round found nothing to take away, since then it has shown nothing.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import abandoned
import services

ROOT = Path(__file__).resolve().parents[2]
MARK = "LEGIONIO_KILLED_RUN"

#: Small parts of the steps that make what could be left.
STEPS = "faults-mirror faults-fleet molecule"
SMALL = {"PYTEST_ARGS": "-k 'disk_that_fills or random_signals'", "SCENARIO": "airgap", "TEST_JOBS": "3"}

#: Seconds from the first host, after which the run is killed.
LATEST = 40.0

#: Seconds for processes to end by themselves, and for the first host to come.
PATIENCE = 90.0
BOOTED = 300.0

HELPERS = ("undo.py",)


def processes(mark: str) -> dict[int, str]:
    """Return the processes that have a mark in their environment, and their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes():
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def hosts() -> list[str]:
    listed = [*services.podman(), "ps", "--all", "--format", "{{.Names}}", "--filter", f"label={abandoned.LABEL}"]
    return subprocess.run(listed, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def left() -> list[str]:
    """Return what the dead have left."""
    everything = [*abandoned.hosts_and_networks(services.podman()), *abandoned.file_systems(), *abandoned.directories()]
    return [one.what for one in everything]


def start(mark: str) -> subprocess.Popen[bytes]:
    # With logs and reports of its own, since this may itself be a step of a run.
    environment = {**os.environ, **SMALL, "LEGIONIO_BUILD": str(ROOT / "build/killed"), MARK: mark}
    return subprocess.Popen(
        ["make", "test", f"STEPS={STEPS}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until_none(mark: str) -> dict[int, str]:
    """Wait until the processes of a run have ended; return those that have not."""
    deadline = time.monotonic() + PATIENCE
    while (running := processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return running


def one_round(number: int, before: set[str]) -> list[str]:
    """Kill a run; return what was wrong."""
    mark = uuid.uuid4().hex
    run = start(mark)
    deadline = time.monotonic() + BOOTED
    while not any("-airgap-" in name for name in set(hosts()) - before):
        if time.monotonic() > deadline or run.poll() is not None:
            raise SystemExit(f"the run made no host within {BOOTED:.0f} s, or ended with {run.poll()}")
        time.sleep(0.5)
    moment = random.uniform(0, LATEST)
    time.sleep(moment)
    there = processes(mark)
    ways = {
        "make and what starts the steps": [
            pid for pid, told in there.items() if "run_steps.py" in told or pid == run.pid
        ],
        "all but the helpers": [pid for pid, told in there.items() if not any(name in told for name in HELPERS)],
        "every process": list(there),
    }
    way = list(ways)[number % len(ways)]
    kill(ways[way])
    run.wait()
    alive = wait_until_none(mark)
    kill(list(alive))
    found = left()
    subprocess.run([sys.executable, Path(abandoned.__file__)], check=True, stdout=subprocess.DEVNULL)
    after = left()
    print(
        f"killed after {moment:.0f} s with hosts: {way}, {len(ways[way])} of {len(there)} processes;"
        f" left: {', '.join(found) or 'nothing'}; still running: {len(alive)}; not taken away: {', '.join(after)}",
        flush=True,
    )
    wrong = [f"{told} ran on" for told in alive.values() if "conmon" not in told] + [f"{one} stayed" for one in after]
    return wrong + ([] if found else ["nothing was left, so nothing was shown"])


def main() -> int:
    before = set(hosts())
    wrong = [fault for number in range(int((sys.argv[1:] or ["3"])[0])) for fault in one_round(number, before)]
    run = start(uuid.uuid4().hex)
    print(f"the next run ends with {run.wait()}")
    return 1 if wrong or run.returncode != 0 or left() else 0


if __name__ == "__main__":
    sys.exit(main())
