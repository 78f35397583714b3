# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill provision_fleet at random moments, and see that the next run repairs what the killed one left.

usage: killed_provision.py ROUNDS SEED HOST PARTS [ARGUMENT...]    the arguments are ansible-playbook's, such as -i

Each round asks for another state than the one before: another worker and another Ollama (PARTS is the folder that
upgrade_parts.py makes), another environment of Ollama, another drain timeout, no release kept but the current one, and
a model that has been removed from the host. So a run has everything to do. Every fifth round begins with a new host
that has nothing. SIGKILL ends the run, with all processes that the run started on this machine, at a moment between its
start and the duration of the last complete run of its kind. The next run must succeed, the one after that must change
nothing, and no partial file, download or unused environment may be left.

Prints a line for each round, and exits with 1 when a round failed. The same seed kills at the same parts of a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

from services import podman

PLAYBOOK = "legionio.ollama.provision_fleet"
CREATE = Path(__file__).resolve().parents[2] / "extensions/molecule/shared/create.yml"
#: The name of the container of a host of the scenario.
CONTAINER = "legionio-kills-{host}"
#: Each round with this number or a multiple begins with a bare host.
BARE_EVERY = 5
#: Seconds that any run may take.
PATIENCE = 1200.0
#: What a killed run may not leave, as a shell script for the host that prints each thing found.
LEFT = r"""
cd /opt/legionio/fleet-worker
find releases /opt/ollama/releases -mindepth 1 -maxdepth 1 -name '.*'
find venvs -mindepth 1 -maxdepth 1 -type d | while read -r venv; do
    [ -e "$venv/complete" ] || echo "$venv is not complete"
    find releases -name venv -type l -lname "*/${venv#*/}" | grep -q . || echo "$venv is of no use"
done
find /var/lib/ollama/models -name '*partial*' -type f
[ "$(find /opt/ollama/releases -mindepth 1 -maxdepth 1 | wc -l)" -le 1 ] || echo "an Ollama that is not to be kept"
[ "$(find releases -mindepth 1 -maxdepth 1 | wc -l)" -le 1 ] || echo "a worker that is not to be kept"
for unit in ollama fleet-worker fleet-worker-updates; do
    systemctl is-active --quiet $unit.service || echo "$unit does not run"
done
"""


class Rounds:
    """Runs the playbook for one host.

    :param host: where everything happens.
    :param parts: the folder that upgrade_parts.py has made.
    :param arguments: of ansible-playbook, in every run.
    """

    def __init__(self, host: str, parts: Path, arguments: list[str]) -> None:
        self._host, self._parts, self._arguments = host, parts, arguments

    def start(self, odd: bool) -> subprocess.Popen[str]:
        """Start a run that asks for one of the two states."""
        variables: dict[str, Any] = {
            "ollama_server_environment": {"OLLAMA_KEEP_ALIVE": "11m" if odd else "12m"},
            "fleet_worker_drain_timeout": 61 if odd else 62,
            "fleet_worker_releases_kept": 1,
            "ollama_server_releases_kept": 1,
        }
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        if odd:
            checksum = json.loads((self._parts / "checksums.json").read_text())["0.24.1"]
            variables["ollama_server_mirror_key"] = "software/ollama-0.24.1.tgz"
            variables["ollama_server_checksum"] = f"sha256:{checksum}"
            environment["ANSIBLE_COLLECTIONS_PATH"] = environment["PYTHONPATH"] = str(self._parts / "newer")
        limited = [f"--limit={self._host}", "--extra-vars", json.dumps(variables)]
        return subprocess.Popen(
            ["ansible-playbook", *self._arguments, *limited, PLAYBOOK],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def complete(self, odd: bool) -> tuple[float, str]:
        """Run to the end; return the seconds that it took, and what it said.

        :raises AssertionError: if it failed.
        """
        began = time.monotonic()
        run = self.start(odd)
        said, _nothing = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, f"the next run failed:\n{said[-4000:]}"
        return time.monotonic() - began, said

    def killed(self, odd: bool, after: float) -> Optional[str]:
        """Start a run and kill it; return the task that it was at, or nothing if it had ended before."""
        run = self.start(odd)
        try:
            run.communicate(timeout=after)
            return None
        except subprocess.TimeoutExpired:
            kill_tree(run.pid)
            said, _nothing = run.communicate()
            tasks = re.findall(r"^TASK \[(.*?)\]", said, re.MULTILINE)
            return tasks[-1] if tasks else "the start"

    def make_bare(self) -> None:
        """Replace the host by a new one that has nothing."""
        container = CONTAINER.format(host=self._host)
        subprocess.run([*podman(), "rm", "--force", "--time", "0", container], check=True, capture_output=True)
        command = ["ansible-playbook", *self._arguments, str(CREATE)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def on_host(self, script: str) -> str:
        """Run a script on the host as root; return what it printed."""
        done = subprocess.run(
            ["ansible", *self._arguments, self._host, "--become", "--module-name=shell", "--args", script],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0"},
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout.partition(">>\n")[2].strip()


def kill_tree(root: int) -> None:
    """Kill a process and all that it started, also in other sessions: Ansible gives its workers sessions of their own.

    A process is stopped before its children are listed, so that it starts none meanwhile.
    """
    found, left = [], [root]
    while left:
        process = left.pop()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
            found.append(process)
            listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], stdout=subprocess.PIPE, check=False)
            left.extend(int(child) for child in listed.stdout.split())
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def main() -> int:
    rounds, seed, host, parts, *arguments = sys.argv[1:]
    draw = random.Random(int(seed))
    runs = Rounds(host, Path(parts), arguments)
    # Seconds of a complete run, from a bare host and from the other state.
    lengths = dict.fromkeys((True, False), runs.complete(odd=False)[0])
    failed = hit = 0
    for number in range(1, int(rounds) + 1):
        odd, bare = bool(number % 2), number % BARE_EVERY == 0
        if bare:
            runs.make_bare()
        else:
            runs.on_host("ollama rm all-minilm:latest")
        after = draw.uniform(0.05, 0.95) * lengths[bare]
        task = runs.killed(odd, after)
        hit += task is not None
        try:
            seconds, _said = runs.complete(odd)
            if not bare:
                lengths[False] = seconds
            _seconds, again = runs.complete(odd)
            assert re.search(r"changed=0 .*failed=0", again), f"the second run changed something:\n{again[-4000:]}"
            left = runs.on_host(LEFT)
            assert not left, f"left: {left}"
            outcome = "repaired"
        except AssertionError as error:
            failed += 1
            outcome = f"FAILED: {error}"
        begun, where = "a bare host" if bare else "the other state", task or "no task: it had ended"
        print(f"round {number}: {begun}, killed after {after:.0f} s at {where}; {outcome}", flush=True)
    print(f"{rounds} runs, {hit} killed in the middle, {failed} not repaired (seed {seed})")
    return 1 if failed or not hit else 0


if __name__ == "__main__":
    sys.exit(main())
