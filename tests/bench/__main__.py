# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the collection beside what people would do without it, in one run, and print ratios first.

usage: python tests/bench [CASE...] [--rounds N] [--blob SIZE] [--layers N] [--store SIZE] [--warm]
                          [--requests N] [--burst N] [--texts N] [--chats N] [--seconds S] [--minutes M]
                          [--document FILE]
Sizes are bytes, or end in K, M or G for powers of 1,024.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Optional

BENCH = Path(__file__).resolve().parent
sys.path[:0] = [
    str(BENCH),
    str(BENCH.parent / "lab"),
    *(str(BENCH.parent / "integration" / room) for room in ("mirror", "fleet", "gateway")),
    str(BENCH.parents[1] / "roles/fleet_worker/files"),
]

import fleet_bench  # noqa: E402
import fleet_cases  # noqa: E402
import gateway_cases  # noqa: E402
import machine  # noqa: E402
import mirror_cases  # noqa: E402
import report  # noqa: E402
import services  # noqa: E402
from sizes import size  # noqa: E402

#: Processes that want to run, from which on the machine is too busy for numbers to mean much.
_NOISE = 1.5

CASES = [*mirror_cases.CASES, *fleet_cases.CASES, *gateway_cases.CASES]

#: Names that stand for several cases.
GROUPS = {"gateway": list(gateway_cases.CASES)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join([*CASES, *GROUPS])}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (5)")
    parser.add_argument("--blob", type=size, default=size("2G"), help="size of the large blob (2G)")
    parser.add_argument("--layers", type=int, default=1000, help="number of small layers (1000)")
    parser.add_argument("--store", type=size, default=size("40G"), help="size of the store that is not changed (40G)")
    parser.add_argument("--requests", type=int, default=2000, help="requests one at a time, of each contestant (2000)")
    parser.add_argument("--burst", type=int, default=960, help="requests of a burst with many in flight (960)")
    parser.add_argument("--texts", type=int, default=960, help="texts to embed in a run (960)")
    parser.add_argument("--chats", type=int, default=64, help="chats with a real model in a run (64)")
    parser.add_argument("--seconds", type=float, default=60, help="length of a run with two models, and of idling (60)")
    parser.add_argument("--minutes", type=float, default=10, help="length of the full load for memory (10)")
    parser.add_argument("--warm", action="store_true", help="leave the caches as they are, to disturb nobody else")
    parser.add_argument("--document", type=Path, help="write the results into this file too")
    given = parser.parse_args()
    given.cases = [case for name in given.cases for case in GROUPS.get(name, [name])]
    unknown = sorted(set(given.cases) - set(CASES))
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are: {', '.join(CASES)}")
    return given


def main() -> int:
    given = arguments()
    # As real servers do; VersityGW would close each connection after one answer.
    os.environ["VGW_KEEP_ALIVE"] = "true"
    machine.keep_caches = given.warm
    chosen = given.cases or CASES
    load = machine.load()
    parts: dict[str, str] = {}
    findings = []
    with services.scratch("bench") as scratch, contextlib.ExitStack() as stack:
        runs: dict[str, Callable[[], Optional[report.Finding]]] = {}
        if set(chosen) & set(mirror_cases.CASES):
            bench = mirror_cases.Bench(scratch, stack.enter_context(services.s3_server()), given, stack)
            runs.update((name, partial(case, bench)) for name, case in mirror_cases.CASES.items())
        fleet = fleet_bench.Fleet(scratch, given, stack)
        for cases in (fleet_cases.CASES, gateway_cases.CASES):
            runs.update((name, partial(case, fleet)) for name, case in cases.items())
        described = machine.description(scratch)
        for name in chosen:
            print(f"{name}:", file=sys.stderr, flush=True)
            finding = runs[name]()
            if finding is None:
                print("  left out: only root can do that", file=sys.stderr, flush=True)
                continue
            findings.append(finding)
            parts[name] = finding.body
            print(f"\n{finding.body}\n", flush=True)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    about = [*described, f"measured on {today} ({', '.join(chosen)}); {given.rounds} rounds"]
    if load > _NOISE:
        about.append(f"**other programs were running**: the load was {load:.1f} before the first run")
    parts = {"machine": "\n".join(f"- {fact}" for fact in about), **parts}
    print(parts["machine"])
    if given.document:
        report.write(given.document, parts)
        print(f"Written to {given.document}")
    missed = [
        f"{finding.name}: {goal.what} ({goal.found})" for finding in findings for goal in finding.goals if not goal.met
    ]
    print("\n".join(["Goals that were missed:", *missed] if missed else ["All goals were met."]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
