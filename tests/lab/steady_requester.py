# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a fleet without a pause, until SIGTERM, and then report the outcomes of the requests.

usage: steady_requester.py RESULT LANE... [options]    a lane is TYPE:MODEL

The broker's URL is in BROKER_URL, as pika takes it; with --password-file, {} in the URL stands for the password. At
SIGTERM no more is asked, the answers that are missing are waited for, and RESULT gets what was counted, as JSON: sent,
answered, repeated, errors, the longest gap between two answers in seconds, how many answers each node gave, and what
was lost or doubled, which history.py judges. While the requester runs, RESULT has the counts so far. The exit status is
1 when anything was lost, doubled, or answered with an error, when no answer came for too long, or when too few requests
were sent.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lab"), str(TESTS / "faults" / "fleet"), str(TESTS.parent / "roles/fleet_worker/files")]

from requesters import Asker, Record  # noqa: E402

#: Requests that wait for an answer at a time: some for each node, and no crowd.
OUTSTANDING = 6
#: Seconds that the last answers may take: a drain, and a model that is loaded again.
PATIENCE = 300.0
#: Seconds between two writings of the counts so far.
SAVE_EVERY = 2.0
#: Seconds until an answer is looked for again.
LOOK = 0.2

OPTIONS = {"temperature": 0, "num_predict": 8}
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "What is the capital of France?"}], "options": OPTIONS},
    "generate": {"prompt": "The capital of France is", "options": OPTIONS},
    "embed": {"input": ["What is the capital of France?"]},
}


class Place:
    """What an :class:`Asker` wants to know of a broker."""

    def __init__(self, url: str) -> None:
        self.amqp_url = url


class SteadyRequester:
    """Asks the lanes in turn, and survives the loss of its connection. For one thread.

    :param url: of the broker.
    :param lanes: of the style ``model``, as (type, model).
    :param every: seconds between two requests; 0 asks as soon as few enough requests wait for an answer.
    :ivar stopped: set, no more is asked.
    """

    def __init__(self, url: str, lanes: list[tuple[str, str]], every: float) -> None:
        self.stopped = False
        self._every = every
        # Others break the fleet meanwhile.
        self._record = Record(always_broken=True)
        self._askers = [
            (kind, Asker(Place(url), _queue(kind, model), record=self._record, expiration=str(int(PATIENCE * 2000))))
            for kind, model in lanes
        ]

    def run(self, save: Path) -> None:
        """Ask until stopped, then wait for the answers that are missing."""
        saved = asked = 0.0
        turns = itertools.cycle(self._askers)
        while not self.stopped:
            now = time.monotonic()
            if now >= asked + self._every and (self._every or self._waiting() < OUTSTANDING):
                kind, asker = next(turns)
                asker.ask(**BODIES[kind])
                asked = now
            else:
                time.sleep(LOOK)
            for _kind, asker in self._askers:
                asker.collect()
            if now > saved + SAVE_EVERY:
                saved = now
                self.save(save, done=False)
        deadline = time.monotonic() + PATIENCE
        for _kind, asker in self._askers:
            try:
                asker.wait(within=max(0.0, deadline - time.monotonic()))
            except AssertionError as error:
                print(error, file=sys.stderr)
            asker.remove_replies()
            asker.close()

    def save(self, path: Path, *, done: bool) -> dict[str, Any]:
        """Write what was counted, and return it."""
        verdict = self._record.verdict(complete=done)
        answers = [answer for _kind, asker in self._askers for given in asker.answers.values() for answer in given]
        errors = Counter(
            json.dumps(body)[:300] for properties, body in answers if properties.type != "llm.fleet.response"
        )
        counted = {
            "done": done,
            "sent": verdict.sent,
            "answered": verdict.answered,
            "repeated": verdict.repeated,
            "errors": dict(errors),
            "longest_gap": round(verdict.longest_gap, 1),
            "nodes": dict(Counter(str(properties.headers.get("x-legion-hostname")) for properties, _body in answers)),
            "findings": [str(found) for found in verdict.findings],
        }
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(counted, indent=2) + "\n")
        beside.replace(path)
        return counted

    def _waiting(self) -> int:
        return sum(len(asker.asked) - len(asker.answers) for _kind, asker in self._askers)


def _queue(kind: str, model: str) -> str:
    return f"llm.request.ollama.{kind}.{model.replace(':', '.')}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("lanes", nargs="+", metavar="TYPE:MODEL")
    parser.add_argument("--every", type=float, default=0.0, help="seconds between two requests")
    parser.add_argument("--least", type=int, default=1, help="requests that must have been sent")
    parser.add_argument("--longest-gap", type=float, default=PATIENCE, help="seconds without an answer that may be")
    parser.add_argument("--password-file", type=Path)
    options = parser.parse_args()
    url = os.environ["BROKER_URL"]
    if options.password_file:
        url = url.replace("{}", quote(options.password_file.read_text(), safe=""))
    lanes = [(kind, model) for kind, _colon, model in (lane.partition(":") for lane in options.lanes)]
    requester = SteadyRequester(url, lanes, options.every)

    def stop(_signal: int, _frame: Any) -> None:
        requester.stopped = True

    signal.signal(signal.SIGTERM, stop)
    requester.run(options.result)
    counted = requester.save(options.result, done=True)
    enough = counted["sent"] >= options.least and counted["longest_gap"] <= options.longest_gap
    return 0 if enough and not counted["findings"] and not counted["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
