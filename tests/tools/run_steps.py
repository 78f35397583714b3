# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of `make test`, two at a time, and say at the end what passed.

A step is a make target. Its output goes to build/logs/<step>.log; of a step that fails, the end of the log is shown.
While steps run, a line a minute says which. A step that others wait for and that fails makes those fail too, unstarted.

usage: python3 run_steps.py [STEP...]    (all of them without a name)
"""

from __future__ import annotations

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
    lane: str
    """Steps of one lane run one after the other, in the order of STEPS; two lanes, for two cores."""
    needs: tuple[str, ...] = ()
    process: Optional[subprocess.Popen[bytes]] = None
    started: float = 0.0
    seconds: float = 0.0
    outcome: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


# What needs hosts or brokers is one lane; what reads source, and then what needs an Ollama or a mirror only, is the
# other, but for the last, with which each takes about half of the time.
STEPS = (
    Step("parts", "lab"),
    Step("lint", "source"),
    Step("unit", "source"),
    Step("sanity-2.19", "source"),
    Step("sanity-2.21", "source"),
    Step("build-check", "source"),
    Step("parts-ollama", "source", needs=("parts",)),
    Step("integration-others", "source", needs=("parts", "parts-ollama")),
    Step("molecule", "lab", needs=("parts",)),
    Step("integration-fleet", "lab", needs=("parts",)),
    Step("faults-fleet", "lab", needs=("parts",)),
    Step("faults-others", "lab", needs=("parts", "parts-ollama")),
)


def say(text: str) -> None:
    print(text, flush=True)


def duration(seconds: float) -> str:
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def start(step: Step) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"{step.name}.xml").unlink(missing_ok=True)
    with step.log.open("wb") as log:
        step.process = subprocess.Popen(
            ["make", "--no-print-directory", step.name],
            cwd=ROOT,
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
            if line.startswith(("NOT RUN", "SKIPPED")):
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


def ready(step: Step, steps: list[Step]) -> bool:
    """Whether a step may start: it has not yet, its lane is free and in order, and what it needs has passed."""
    if step.process or step.outcome:
        return False
    before = steps[: steps.index(step)]
    if any(other.lane == step.lane and not other.outcome for other in before):
        return False
    return all(other.outcome for other in steps if other.name in step.needs)


def run(steps: list[Step]) -> None:
    """Run the steps to their end. When this is interrupted, the running ones are ended first."""
    said = time.monotonic()
    try:
        while not all(step.outcome for step in steps):
            for step in steps:
                if ready(step, steps):
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

    say("")
    for step in steps:
        counted = ", ".join(f"{number} {what}" for what, number in step.counts.items() if number)
        say(f"{step.outcome:7} {step.name:18} {duration(step.seconds):>7}   {counted}".rstrip())
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
