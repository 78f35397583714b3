# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contestants that take turns, and what was measured of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional


@dataclass
class Sample:
    """One run of one contestant.

    :param seconds: from the start of its process to its end.
    :param cpu: seconds of processor time of it and its children.
    :param facts: whatever else was measured.
    """

    seconds: float
    cpu: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Contestant:
    """Something that does the work of a case.

    :param run: does it once, and looks whether it was done.
    :param before: makes everything as it was before the first run.
    """

    name: str
    run: Callable[[], Sample]
    before: Callable[[], None] = lambda: None
    samples: list[Sample] = field(default_factory=list)

    def median(self, fact: str = "") -> float:
        """Return the median of the seconds, or of one of the facts."""
        return statistics.median(sample.facts[fact] if fact else sample.seconds for sample in self.samples)

    def largest(self, fact: str) -> float:
        return max(float(sample.facts[fact]) for sample in self.samples)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)


def take_turns(contestants: Sequence[Contestant], rounds: int, *, quiet: bool = False) -> None:
    """Run each contestant ``rounds`` times.

    Each round begins with another contestant, so that no contestant always gets a warm cache.

    :param quiet: say nothing of single runs.
    """
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in [*contestants[first:], *contestants[:first]]:
            contestant.before()
            sample = contestant.run()
            contestant.samples.append(sample)
            if not quiet:
                print(f"  {number + 1}/{rounds} {contestant.name}: {sample.seconds:.2f} s", file=sys.stderr, flush=True)


def until_synced(sample: Sample, file: Path) -> Sample:
    """Add to a run what it takes until its file is on the disk; the fact ``fsync`` is how many seconds that is."""
    start = time.perf_counter()
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    sample.facts["fsync"] = time.perf_counter() - start
    sample.seconds += sample.facts["fsync"]
    return sample


def timed(command: Sequence[str], *, given: str = "", env: Optional[dict[str, str]] = None) -> tuple[Sample, str]:
    """Run a command to its good end; return what it took, and what it printed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    before = os.times()
    printed, complaints = process.communicate(given)
    seconds = time.perf_counter() - start
    after = os.times()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{printed[-2000:]}{complaints[-2000:]}")
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Sample(seconds, cpu), printed
