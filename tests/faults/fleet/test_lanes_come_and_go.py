# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models come and go for months: lanes made of them leave nothing in the worker's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from depth import rounds
from fleet_parts import ScriptedOllama, WorkerProcess, delete_queues, eventually

#: Models that come at a time, each with a lane to chat and one to generate.
MODELS = 25
LANES = 2 * MODELS

#: Turns before the first look at the memory: allocators and caches fill up first.
WARM_UP = 3

#: KiB that the memory may grow by from then on; what a lane takes was measured as some 20.
MAY_GROW = 3 * 1024


def memory(worker: WorkerProcess) -> int:
    """Return what a process has in memory, in KiB."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_lanes_that_come_and_go_leave_the_memory_flat(
    lent_broker: Any, scripted: ScriptedOllama, start: Callable[..., WorkerProcess]
) -> None:
    scripted.models = []
    worker = start(lent_broker, scripted.url, lanes="auto", auto_lanes={"allow": ["*"]}, ollama={"interval": 0.3})
    worker.wait_ready()
    sizes = []
    for turn in range(WARM_UP + rounds(3, 20)):
        scripted.models = [f"model{turn}-{number}:1b" for number in range(MODELS)]
        eventually(lambda: served(worker) == LANES, f"{LANES} lanes", 120, worker)
        scripted.models = []
        eventually(lambda: not worker.status()["lanes"], "no lane", 120, worker)
        delete_queues(lent_broker, "llm.request.")
        sizes.append(memory(worker))
    lanes = LANES * len(sizes)
    print(f"{lanes} lanes came and went; the worker's memory after each turn of {LANES}, in KiB: {sizes}")
    assert len(sizes) > WARM_UP
    assert sizes[-1] - sizes[WARM_UP - 1] < MAY_GROW


def served(worker: WorkerProcess) -> int:
    return sum(one["state"] in ("push", "pull") for one in worker.status()["lanes"])
