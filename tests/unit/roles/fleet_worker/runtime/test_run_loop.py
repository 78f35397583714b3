# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of a process: signals come to a thread of their own, and the loop turns until it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[5] / "roles" / "fleet_worker" / "files"

#: A process of its own, since signals are blocked for all of its threads.
PROCESS = """
import os, signal, sys, threading
sys.path.insert(0, {sources!r})
from fleet_worker.runtime.event_loop import EventLoop
from fleet_worker.runtime.run_loop import run_loop
from fleet_worker.runtime.supervisor import Supervisor

loop = EventLoop()

def on_signal(number):
    print(threading.current_thread().name, signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        loop.add_callback_threadsafe(loop.stop)

def start():
    print(threading.current_thread().name, "starts", flush=True)
    {then}

ended = run_loop(
    loop,
    Supervisor(),
    signals={{signal.SIGTERM, signal.SIGHUP}},
    on_signal=on_signal,
    start_threads=lambda: print("threads", flush=True),
    start=start,
)
print(ended)
"""


def run(then: str) -> subprocess.CompletedProcess[str]:
    program = PROCESS.format(sources=str(SOURCES), then=then)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_run_loop_hands_signals_to_their_thread_and_ends_with_the_loop() -> None:
    sends = [f"os.kill(os.getpid(), {int(number)})" for number in (signal.SIGHUP, signal.SIGTERM)]
    finished = run(f"loop.add_callback_threadsafe(lambda: {sends[0]}); loop.call_later(0.2, lambda: {sends[1]})")
    assert finished.stdout.split("\n")[:5] == [
        "threads",
        "io starts",
        "signals SIGHUP",
        "signals SIGTERM",
        "True",
    ], finished.stderr
    assert finished.returncode == 0


@pytest.mark.parametrize("defect", ["raise RuntimeError('a defect')"])
def test_run_loop_whose_start_raises_says_that_it_did_not_end_well(defect: str) -> None:
    finished = run(defect)
    assert finished.stdout.endswith("False\n"), finished.stderr
