# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A requester that asks a fleet without a pause, until SIGTERM, and then says what became of its requests.

usage: steady_requester.py RESULT LANE...    a lane is TYPE:MODEL

The broker's URL is in BROKER_URL. At SIGTERM no more is asked, the answers that are missing are waited for, and RESULT
gets what was counted, as JSON: sent, answered, repeated, errors, the longest gap between two answers in seconds, how
many answers each node gave, and what was lost or doubled, which history.py judges. While it runs, RESULT has the
counts so far. The exit status is 1 when anything was lost, doubled, or answered with an error.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pika
from history import Happened, History, judge

#: Requests that wait for an answer at a time: some for each node, and no crowd.
OUTSTANDING = 6
#: Seconds that the last answers may take: a drain, and a model that is loaded anew.
PATIENCE = 300.0
#: Seconds between two writings of the counts so far.
SAVE_EVERY = 2.0

CHAT = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "options": {"temperature": 0, "num_predict": 8},
}
BODIES: dict[str, dict[str, Any]] = {
    "chat": CHAT,
    "generate": {"prompt": "The capital of France is", "options": {"temperature": 0, "num_predict": 8}},
    "embed": {"input": ["What is the capital of France?"]},
}


class SteadyRequester:
    """Asks the lanes in turn. For one thread.

    :param url: of the broker.
    :param lanes: of the style ``model``, as (type, model).
    :ivar stopped: set, no more is asked.
    """

    def __init__(self, url: str, lanes: list[tuple[str, str]]) -> None:
        self.history = History()
        self.stopped = False
        self.errors: Counter[str] = Counter()
        self.nodes: Counter[str] = Counter()
        self._lanes = itertools.cycle(lanes)
        self._waiting: set[str] = set()
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._reply_to = f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"
        self._channel.queue_declare(self._reply_to, exclusive=True)
        self._channel.basic_consume(self._reply_to, self._take, auto_ack=True)

    def run(self, save: Path) -> None:
        """Ask until stopped, then wait for the answers that are missing."""
        saved = 0.0
        while not self.stopped:
            if len(self._waiting) < OUTSTANDING:
                self._ask()
            self._connection.process_data_events(time_limit=0 if len(self._waiting) < OUTSTANDING else 0.2)
            if time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                self.save(save, done=False)
        deadline = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < deadline:
            self._connection.process_data_events(time_limit=0.5)

    def save(self, path: Path, *, done: bool) -> bool:
        """Write what was counted; return whether nothing was lost, doubled, or answered with an error."""
        verdict = judge(self.history.events)
        # What is still waited for is not lost yet.
        findings = [str(found) for found in verdict.findings if done or found.kind != "lost"]
        counted = {
            "done": done,
            "sent": verdict.sent,
            "answered": verdict.answered,
            "repeated": verdict.repeated,
            "errors": dict(self.errors),
            "longest_gap": round(verdict.longest_gap, 1),
            "nodes": dict(self.nodes),
            "findings": findings,
        }
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(counted, indent=2) + "\n")
        beside.replace(path)
        return not findings and not self.errors

    def _ask(self) -> None:
        kind, model = next(self._lanes)
        request = f"req_{uuid.uuid4()}"
        properties = pika.BasicProperties(
            type="llm.fleet.request",
            reply_to=self._reply_to,
            correlation_id=request,
            message_id=request,
            delivery_mode=2,
            content_type="application/json",
        )
        key = f"llm.request.ollama.{kind}.{model.replace(':', '.')}"
        self._waiting.add(request)
        self._channel.basic_publish("llm.request", key, json.dumps(BODIES[kind]).encode(), properties, mandatory=True)
        self.history.record(Happened.SENT, request, time.monotonic())

    def _take(self, _channel: Any, _method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        headers = properties.headers or {}
        request = str(properties.correlation_id)
        marked = bool(headers.get("x-legion-fleet-redelivered"))
        self.nodes[str(headers.get("x-legion-hostname"))] += 1
        self.history.record(Happened.RECEIVED, request, time.monotonic(), marked=marked)
        self._waiting.discard(request)
        if properties.type != "llm.fleet.response":
            self.errors[body.decode(errors="replace")[:300]] += 1


def main() -> int:
    result = Path(sys.argv[1])
    lanes = [(kind, model) for kind, _colon, model in (lane.partition(":") for lane in sys.argv[2:])]
    requester = SteadyRequester(os.environ["BROKER_URL"], lanes)

    def stop(_signal: int, _frame: Any) -> None:
        requester.stopped = True

    signal.signal(signal.SIGTERM, stop)
    requester.run(result)
    return 0 if requester.save(result, done=True) else 1


if __name__ == "__main__":
    sys.exit(main())
