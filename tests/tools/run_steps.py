# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of `make test`, some at a time, and print at the end which of them passed.

A step is a make target. Its output goes to build/logs/<step>.log; the end of the log of a failed step is shown.
A line a minute says which steps run. A step that needs a failed step fails too, without a start.

Steps start in the order of a queue: first the step with the longest way to the end, which is its own duration and the
longest way of the steps that need it. The durations are those of the last run, kept in the cache; on a new machine,
those of STEPS.

usage: python3 run_steps.py [STEP...]    (all steps without a name)

TEST_JOBS says how many steps run side by side, TEST_DEPTH=deep that they go to their full depth (`make test-deep`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LEGIONIO_BUILD") or ROOT / "build")
LOGS = BUILD / "logs"
REPORTS = BUILD / "reports"

DEEP = os.environ.get("TEST_DEPTH") == "deep"
"""Whether every test runs with every version and in many rounds (tests/lab/depth.py)."""

CACHE = Path(
    os.environ.get("LEGIONIO_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legionio-ollama"
)
DURATIONS = CACHE / f"step-seconds{'-deep' if DEEP else ''}.json"
"""How long each step took when it last passed, in seconds."""

JOBS = int(os.environ.get("TEST_JOBS") or 2)
"""Steps that run side by side. Each keeps about one core busy; the machines of CI have two."""

SLOWEST = 10
"""Tests that the report names, with their durations."""

SAY_EVERY = 60.0
"""Seconds between two lines about what is running: CI ends a job that is silent for long."""

GOODBYE = 60.0
"""Seconds that interrupted steps have to clean up: Molecule and the lab's servers need some."""

SHOWN_LINES = 150
"""Lines of a failed step's log that are shown: a whole pytest summary, or the task that failed with what led to it."""


@dataclass
class Step:
    """One make target."""

    name: str
    minutes: float = 1.0
    """How long it takes on two cores, where no run has been measured yet."""
    needs: tuple[str, ...] = ()
    process: Optional[subprocess.Popen[bytes]] = None
    started: float = 0.0
    seconds: float = 0.0
    outcome: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


STEPS: tuple[Step, ...] = (
    Step("parts", 8.0),
    Step("parts-ollama", 6.0, needs=("parts",)),
    Step("lint", 1.5),
    Step("unit", 2.0),
    Step("simulate", 2.0),
    Step("sanity-2.19", 5.0),
    Step("sanity-2.21", 3.0),
    Step("build-check", 1.0),
    Step("molecule", 12.0, needs=("parts",)),
    Step("parts-clients", 1.0, needs=("parts",)),
    Step("integration-collection", 2.5),
    Step("integration-fleet", 9.0, needs=("parts", "parts-ollama")),
    Step("integration-gateway", 3.0, needs=("parts", "parts-clients")),
    Step("integration-mirror", 6.0, needs=("parts", "parts-ollama")),
    Step("integration-servers", 6.0, needs=("parts", "parts-ollama")),
    Step("integration-progress", 4.0, needs=("parts",)),
    Step("faults-fleet", 7.0, needs=("parts",)),
    Step("faults-gateway", 2.0, needs=("parts",)),
    Step("faults-mirror", 6.0, needs=("parts",)),
    Step("faults-client", 2.0, needs=("parts", "parts-ollama")),
)
if DEEP:
    STEPS += tuple(Step(f"integration-s3-{server}", 8.0, needs=("parts",)) for server in ("minio", "moto"))
    STEPS += tuple(
        Step(f"molecule-{scenario}", minutes, needs=("parts",))
        for scenario, minutes in (
            ("gateway", 8.0),
            ("legionio", 8.0),
            ("tls", 15.0),
            ("airgap", 6.0),
            ("distros", 8.0),
            ("tags", 40.0),
            ("peers", 8.0),
            ("cluster", 40.0),
            ("situations", 25.0),
            ("tutorials", 15.0),
        )
    )
    STEPS += (Step("execution-environment", 4.0, needs=("parts",)),)
    STEPS += (Step("killed-run", 15.0, needs=("molecule-airgap",)),)  # which it kills, too
    STEPS += (Step("molecule-upgrade", 45.0, needs=("parts", "parts-ollama")),)
    STEPS += (Step("molecule-kills", 60.0, needs=("parts", "parts-ollama")),)


def say(text: str) -> None:
    print(text, flush=True)


def duration(seconds: float) -> str:
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def start(step: Step) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"{step.name}.xml").unlink(missing_ok=True)
    with step.log.open("wb") as log:
        step.process = subprocess.Popen(
            # A step ends with this process also when it is killed: two runs at a time would be in each other's way.
            ["setpriv", "--pdeathsig=TERM", "make", "--no-print-directory", step.name],
            cwd=ROOT,
            env={**os.environ, "COVERAGE": "1", "UNIT_PROCESSES": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A group of its own, so that ending a step ends all that it started.
            start_new_session=True,
        )
    step.started = time.monotonic()
    say(f"start   {step.name}")


def finish(step: Step, code: int) -> None:
    step.seconds = time.monotonic() - step.started
    step.outcome = "passed" if code == 0 else "failed"
    step.counts = pytest_counts(REPORTS / f"{step.name}.xml")
    counted = ", ".join(f"{number} {what}" for what, number in step.counts.items() if number or what == "passed")
    say(f"{step.outcome:7} {step.name} in {duration(step.seconds)}" + (f": {counted}" if step.counts else ""))
    lines = step.log.read_text(errors="replace").splitlines()
    if code:
        cut = f", the last {SHOWN_LINES} of {len(lines)} lines" if len(lines) > SHOWN_LINES else ""
        say(f"----- {step.log}{cut}")
        say("\n".join(lines[-SHOWN_LINES:]))
        say(f"----- {step.name} failed. Alone: make {step.name}")
    else:
        for line in lines:
            if line.startswith(("NOT RUN", "SKIPPED", "COVERAGE")):
                say(f"        {line}")


def pytest_counts(report: Path) -> dict[str, int]:
    """What a pytest step counted, from its JUnit report; nothing for a step that is not pytest's."""
    if not report.exists():
        return {}
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for suite in ET.parse(report).getroot().iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        counts["failed"] += failed
        counts["skipped"] += skipped
        counts["passed"] += int(suite.get("tests", 0)) - failed - skipped
    return counts


def slowest_tests(reports: list[Path]) -> list[tuple[float, str]]:
    """Return the durations in seconds and the names of the slowest tests in some JUnit reports, slowest first."""
    found = [
        (float(case.get("time", 0)), f"{case.get('classname', '')}::{case.get('name', '')}")
        for report in reports
        if report.exists()
        for case in ET.parse(report).getroot().iter("testcase")
    ]
    return sorted(found, reverse=True)[:SLOWEST]


def known_durations() -> dict[str, float]:
    """Return how long each step took last, in seconds; nothing where no run was measured."""
    try:
        stored = json.loads(DURATIONS.read_text())
        return {str(name): float(seconds) for name, seconds in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep_durations(steps: list[Step]) -> None:
    """Keep the durations of the steps that passed, for the order of the next run."""
    durations = {**known_durations(), **{step.name: step.seconds for step in steps if step.outcome == "passed"}}
    DURATIONS.parent.mkdir(parents=True, exist_ok=True)
    beside = DURATIONS.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(durations, indent=1, sort_keys=True))
    beside.replace(DURATIONS)


def queue(steps: list[Step]) -> list[Step]:
    """Return the steps with the longest way to the end first."""
    known = known_durations()
    ways: dict[str, float] = {}

    def way(step: Step) -> float:
        if step.name not in ways:
            after = [way(other) for other in steps if step.name in other.needs]
            ways[step.name] = known.get(step.name, step.minutes * 60) + max(after, default=0.0)
        return ways[step.name]

    return sorted(steps, key=way, reverse=True)


def next_step(waiting: list[Step], steps: list[Step]) -> Optional[Step]:
    """Return the first waiting step whose needs have ended, if there is one."""
    ended = {step.name for step in steps if step.outcome}
    chosen = {step.name for step in steps}
    return next((step for step in waiting if all(name in ended or name not in chosen for name in step.needs)), None)


def run(steps: list[Step]) -> None:
    """Run the steps to their end. When this is interrupted, the running ones are ended first."""
    said = time.monotonic()
    waiting = queue(steps)
    try:
        while not all(step.outcome for step in steps):
            while sum(1 for step in steps if step.process and not step.outcome) < JOBS:
                step = next_step(waiting, steps)
                if step is None:
                    break
                waiting.remove(step)
                failed = [other.name for other in steps if other.name in step.needs and other.outcome != "passed"]
                if failed:
                    step.outcome = "failed"
                    say(f"failed  {step.name}, not started: it needs {', '.join(failed)}")
                else:
                    start(step)
            for step in steps:
                code = step.process.poll() if step.process and not step.outcome else None
                if code is not None:
                    finish(step, code)
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                running = [step for step in steps if step.process and not step.outcome]
                say("running " + ", ".join(f"{step.name} ({duration(said - step.started)})" for step in running))
            time.sleep(0.2)
    finally:
        end([step.process for step in steps if step.process and step.process.poll() is None])


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes with all that they started: politely, so that tests take their hosts and servers away, then not."""
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GOODBYE
    for process in processes:
        while group_lives(process) and time.monotonic() < deadline:
            time.sleep(0.1)
        if group_lives(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    chosen = sys.argv[1:]
    unknown = sorted(set(chosen) - {step.name for step in STEPS})
    if unknown:
        print(
            f"no such step: {', '.join(unknown)}; there are: {', '.join(step.name for step in STEPS)}", file=sys.stderr
        )
        return 2
    steps = [step for step in STEPS if not chosen or step.name in chosen]
    # What ends a CI job, and what `timeout` sends, is an interrupt like that of a keyboard.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    # The environment first, and alone: every step needs it, and this is where a bare machine fails.
    venv = subprocess.run(["make", "--no-print-directory", "venv"], check=False, cwd=ROOT, stdin=subprocess.DEVNULL)
    if venv.returncode:
        return 1
    run(steps)
    keep_durations(steps)

    slowest = slowest_tests([REPORTS / f"{step.name}.xml" for step in steps])
    if slowest:
        say("")
        say("The slowest tests:")
        for seconds, name in slowest:
            say(f"{seconds:7.1f} s  {name}")
    say("")
    for step in steps:
        counted = ", ".join(f"{number} {what}" for what, number in step.counts.items() if number)
        say(f"{step.outcome:7} {step.name:20} {duration(step.seconds):>7}   {counted}".rstrip())
    failed = [step.name for step in steps if step.outcome != "passed"]
    total = {what: sum(step.counts.get(what, 0) for step in steps) for what in ("passed", "failed", "skipped")}
    say(
        f"{total['passed']} tests passed, {total['failed']} failed, {total['skipped']} skipped; "
        f"{len(steps) - len(failed)} steps passed, {len(failed)} failed, in {duration(time.monotonic() - began)}"
    )
    if failed:
        say(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
