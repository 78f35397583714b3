# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test` fails when a step does, whatever else passes, and counts what pytest counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_steps
from run_steps import Step

REPORT = (
    '<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1">'
    '<testcase classname="tests.a" name="quick" time="0.5"/><testcase classname="tests.a" name="slow" time="61.5"/>'
    "</testsuite></testsuites>"
)


@pytest.fixture
def makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with targets of every kind."""
    (tmp_path / "Makefile").write_text(
        "venv:\n\t@true\n"
        "good:\n\t@echo fine\n"
        "bad:\n\t@echo it broke; exit 1\n"
        "after-bad:\n\t@touch started\n"
        "later:\n\t@touch later\n"
        "honest:\n\t@echo 'NOT RUN: there is no such thing here'\n"
        f"counted:\n\t@mkdir -p build/reports; echo '{REPORT}' > build/reports/counted.xml\n"
    )
    monkeypatch.setattr(run_steps, "ROOT", tmp_path)
    monkeypatch.setattr(run_steps, "LOGS", tmp_path / "build/logs")
    monkeypatch.setattr(run_steps, "REPORTS", tmp_path / "build/reports")
    monkeypatch.setattr(run_steps, "DURATIONS", tmp_path / "cache/step-seconds.json")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *steps: Step, chosen: tuple[str, ...] = ()) -> int:
    monkeypatch.setattr(run_steps, "STEPS", steps)
    monkeypatch.setattr("sys.argv", ["run_steps.py", *chosen])
    return run_steps.main()


def test_all_passed(makefile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, Step("good"), Step("honest"), Step("counted")) == 0
    printed = capsys.readouterr().out
    assert "        NOT RUN: there is no such thing here\n" in printed
    assert "2 tests passed, 2 failed, 1 skipped; 3 steps passed, 0 failed, in 0m" in printed


def test_a_failure_fails_all_and_is_shown(
    makefile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Step("bad"), Step("good"), Step("later")) == 1
    printed = capsys.readouterr().out
    assert "it broke" in printed
    assert printed.endswith("FAILED: bad\n")
    assert (makefile / "later").exists()


def test_step_that_needs_a_failed_one_fails_without_a_start(makefile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Step("bad"), Step("after-bad", needs=("bad",))) == 1
    assert not (makefile / "started").exists()


def test_queue_starts_with_the_longest_way_to_the_end(makefile: Path) -> None:
    steps = [Step("long", 5.0), Step("first", 1.0), Step("last", 6.0, needs=("first",)), Step("short", 0.5)]
    assert [step.name for step in run_steps.queue(steps)] == ["first", "last", "long", "short"]


def test_queue_takes_the_durations_of_the_last_run(
    makefile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_steps.DURATIONS.parent.mkdir()
    run_steps.DURATIONS.write_text('{"good": 900, "bad": 3000}')
    assert [step.name for step in run_steps.queue([Step("later", 10.0), Step("good", 5.0)])] == ["good", "later"]

    run(monkeypatch, Step("bad"), Step("good"))
    assert run_steps.known_durations()["good"] < 900
    assert run_steps.known_durations()["bad"] == 3000, "a failed step says nothing about its duration"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"good": "soon"}', '{"good": null}'])
def test_queue_stored_durations_that_cannot_be_read_are_ignored(makefile: Path, content: str) -> None:
    run_steps.DURATIONS.parent.mkdir()
    run_steps.DURATIONS.write_text(content)
    assert [step.name for step in run_steps.queue([Step("good", 1.0), Step("later", 2.0)])] == ["later", "good"]


def test_report_names_the_slowest_tests(
    makefile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, Step("counted"))
    assert "The slowest tests:\n   61.5 s  tests.a::slow\n    0.5 s  tests.a::quick\n" in capsys.readouterr().out


def test_an_unknown_step_is_refused(makefile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Step("good"), chosen=("god",)) == 2


def test_every_step_is_a_target() -> None:
    makefile = Path(run_steps.__file__).resolve().parents[2] / "Makefile"
    targets = {line.split(":")[0] for line in makefile.read_text().splitlines() if "## " in line}
    assert {step.name for step in run_steps.STEPS} <= targets


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_from_outside_it_ends_what_it_started(makefile: Path, number: signal.Signals) -> None:
    tools = str(Path(run_steps.__file__).parent)
    # A step whose work is done by the child of a child, as pytest's and Ansible's is.
    work = "trap 'kill $!; exit' TERM; sleep 600 & echo $! > pid; wait"
    (makefile / "work").write_text(work)
    (makefile / "Makefile").write_text("venv:\n\t@true\nlong:\n\t@bash work\n")
    program = (
        f"import sys, pathlib; sys.path.insert(0, {tools!r}); import run_steps as r; sys.argv = ['x'];"
        f"r.ROOT = pathlib.Path({str(makefile)!r}); r.LOGS = r.REPORTS = r.ROOT / 'logs';"
        "r.DURATIONS = r.ROOT / 'seconds.json';"
        "r.STEPS = (r.Step('long'),); sys.exit(r.main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 30
        while not (makefile / "pid").exists() or not (makefile / "pid").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait(30) != 0
    while number == signal.SIGKILL and step_lives(makefile):
        assert time.monotonic() < deadline + 30
        time.sleep(0.05)
    assert not step_lives(makefile)


def step_lives(makefile: Path) -> bool:
    try:
        os.kill(int((makefile / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True
