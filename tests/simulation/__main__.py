# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate fleets from seeds, and show what goes wrong with the smallest plan that still goes wrong."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab"), str(HERE.parents[1] / "roles" / "fleet_worker" / "files")]

from fleet_simulation import Outcome, Plan, make_plan, run_plan, shrink  # noqa: E402
from history import Happened  # noqa: E402

#: Seeds that a process takes at a time.
PORTION = 20

#: Portions of a process. The greenlets of killed workers never end, so they keep their memory as long as the process.
PORTIONS = 10

#: Plans that are made smaller when seeds fail.
SHRUNK = 2


def quiet() -> None:
    """Let nobody write a log: a broken connection is nothing special here."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logger = logging.getLogger("fleet_worker")
    logger.setLevel(logging.ERROR)
    logger.propagate = False


def simulate(seeds: range, faults: bool, crowd: int) -> tuple[Counter[str], list[int]]:
    """Run some seeds; return what happened in all of them, and those that failed."""
    quiet()
    figures: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        outcome = run_plan(make_plan(seed, faults=faults, crowd=crowd))
        verdict = outcome.verdict
        figures.update(
            seeds=1, sent=verdict.sent, answered=verdict.answered, expired=verdict.expired, repeated=verdict.repeated
        )
        figures.update({f"fault: {fault.kind}": 1 for fault in outcome.plan.faults})
        figures["most returned"] = max(figures["most returned"], outcome.most_returned)
        figures.update({f"returned {outcome.most_returned} times at most": 1})
        figures.update({f"error: {code}": number for code, number in verdict.errors.items()})
        figures["requests given up by their queue, explained"] += sum(one.kind == "lost" for one in verdict.explained)
        for name in ("returned for a cancelled consumer", "consumer timeouts", "probes", "model_pauses"):
            figures[name] += outcome.counters[name]
        if outcome.problems:
            failed.append(seed)
    return figures, failed


def show(plan: Plan, outcome: Outcome) -> None:
    """Print a plan, what is wrong, and what happened to the requests that it is wrong about."""
    print(plan)
    print(outcome.verdict)
    for problem in outcome.problems[:20]:
        print("PROBLEM", problem[:3000])
    wrong = {finding.request for finding in outcome.verdict.findings[:3]}
    for event in outcome.history.events:
        if event.request in wrong or event.what is Happened.FAULT:
            print(event)


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # else sets of names have another order in each process
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        return subprocess.run([sys.executable, str(HERE), *sys.argv[1:]], check=False, env=environment).returncode
    parser = argparse.ArgumentParser(prog="tests/simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone, with all that it decides")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes side by side")
    parser.add_argument("--without-faults", action="store_true", help="leave everything whole")
    parser.add_argument("--crowd", type=int, default=1, metavar="N", help="times as many requests")
    options = parser.parse_args()
    quiet()
    faults = not options.without_faults
    if options.seed is not None:
        plan = make_plan(options.seed, faults=faults, crowd=options.crowd)
        outcome = run_plan(plan)
        show(plan, outcome)
        return 1 if outcome.problems else 0
    began = time.monotonic()
    last = options.first + options.seeds
    portions = [range(first, min(first + PORTION, last)) for first in range(options.first, last, PORTION)]
    figures: Counter[str] = Counter()
    failed: list[int] = []
    batch = PORTIONS * options.jobs
    for begin in range(0, len(portions), batch):
        with ProcessPoolExecutor(options.jobs) as pool:
            one = partial(simulate, faults=faults, crowd=options.crowd)
            for counted, wrong in pool.map(one, portions[begin : begin + batch]):
                most = max(figures["most returned"], counted["most returned"])
                figures += counted
                figures["most returned"] = most
                failed += wrong
    for name, number in sorted(figures.items()):
        print(f"{number:10} {name}")
    print(f"{time.monotonic() - began:10.1f} seconds, seeds {options.first} to {last - 1}")
    for seed in failed[:SHRUNK]:
        plan = shrink(make_plan(seed, faults=faults, crowd=options.crowd), lambda plan: bool(run_plan(plan).problems))
        print(f"\nseed {seed} fails; the smallest plan found that still does:")
        show(plan, run_plan(plan))
    if failed:
        crowd = f" CROWD={options.crowd}" if options.crowd != 1 else ""
        print(f"\nFAILED: {len(failed)} seeds: {failed[:50]}. One alone: make simulate SEED={failed[0]}{crowd}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
