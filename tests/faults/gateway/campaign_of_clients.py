# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a gateway while a campaign kills gateway, worker, broker and Ollama: what each client may see."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fleet_parts import CHAT_MODEL
from history import Happened, History, Rules, Verdict, judge

#: Seconds that a request may take from beginning to end: its deadline at the gateway, and some for a busy machine.
DEADLINE = 15.0
PATIENCE = DEADLINE + 15.0

#: Seconds that a client waits after an error, instead of the Retry-After that it got.
PAUSE = 0.2

#: Seconds for which a death can have effects after everything runs again: until each part has found the others again,
#: and the requests of before have come to their deadline.
LINGERS = DEADLINE + 15.0

#: What a client may get instead of an answer because something has died: no other status, and at no other time.
RULES = Rules(
    errors=dict.fromkeys(
        ("status 429", "status 500", "status 502", "status 503", "status 504", "stream ended with an error", "cut"), ()
    )
)

#: Paths that are asked in turn, and whether the answer is a stream.
ASKED = (("/api/chat", False), ("/api/chat", True), ("/v1/chat/completions", False), ("/v1/messages", False))


def echo(path: str, body: dict[str, Any]) -> Any:
    """Answer as an Ollama that says what it was asked, so that no answer can pass for another one."""
    said = body["messages"][-1]["content"]
    if path == "/v1/chat/completions":
        return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}
    if path == "/v1/messages":
        return 200, {"type": "message", "content": [{"type": "text", "text": said}]}
    message = {"role": "assistant", "content": said}
    end = {"model": body["model"], "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    if not body.get("stream"):
        return 200, {**end, "message": message}
    halves = [said[: len(said) // 2], said[len(said) // 2 :]]
    return 200, iter(
        [*({"message": {"content": half}, "done": False} for half in halves), {**end, "message": {"content": ""}}]
    )


@dataclass
class Front:
    """A gateway that is asked.

    :ivar kills: how often it was killed.
    :ivar is_down: whether it has not come up again since.
    """

    gateway: Any
    kills: int = 0
    is_down: bool = False


@dataclass
class Seen:
    """What the clients have seen.

    :ivar outcomes: how often each: ``answered``, an error by its status, ``stream ended with an error``, ``cut`` by the
        death of the gateway itself.
    :ivar answered: answers by gateway.
    :ivar wrong: what must not be.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    asked: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Campaign:
    """So many clients that ask one request after the other, of the gateways in turn."""

    def __init__(self, fronts: Sequence[Front], clients: int) -> None:
        self._fronts = fronts
        self._clients = clients
        self._lock = threading.Lock()
        self._number = 0
        self._most = 0
        self._over = threading.Event()
        self._history = History()
        self.seen = Seen()

    @property
    def made(self) -> int:
        """Requests that were made so far."""
        return self._number

    def run(self, most: int) -> ThreadPoolExecutor:
        """Begin; the pool ends when so many requests were made, or :meth:`stop` was called."""
        self._most = most
        pool = ThreadPoolExecutor(self._clients)
        for _client in range(self._clients):
            pool.submit(self._ask_and_ask)
        return pool

    def broken(self, what: str, since: float) -> None:
        """Something was broken on purpose, from a time until now; it has effects for some time more."""
        seconds = time.monotonic() - since + LINGERS
        self._history.record(Happened.FAULT, at=since, detail=what, seconds=seconds)

    def verdict(self) -> Verdict:
        """Return the requests without an answer, and those with an error that nothing explains."""
        return judge(self._history.events, RULES)

    def stop(self) -> None:
        self._over.set()

    def _ask_and_ask(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if self._number >= self._most:
                    return
                self._number += 1
                number = self._number
            which = number % len(self._fronts)
            begun = time.monotonic()
            self._history.record(Happened.SENT, str(number), begun)
            try:
                outcome, wrong = self._ask(number, self._fronts[which])
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                outcome, wrong = "defect", f"{number}: {type(error).__name__}: {error}"
            seconds = time.monotonic() - begun
            if outcome != "no answer":
                code = "" if outcome == "answered" else outcome
                self._history.record(Happened.RECEIVED, str(number), begun + seconds, detail=code)
            with self._lock:
                seen = self.seen
                seen.outcomes[outcome] += 1
                seen.asked[which] += 1
                seen.answered[which] += outcome == "answered"
                seen.slowest = max(seen.slowest, seconds)
                if wrong:
                    seen.wrong.append(wrong)
            if outcome != "answered":
                time.sleep(PAUSE)

    def _ask(self, number: int, front: Front) -> tuple[str, str]:
        """Ask once; return the outcome, and what is wrong with it."""
        path, stream = ASKED[number % len(ASKED)]
        said = f"number {number} of this campaign"
        messages = [{"role": "user", "content": said}]
        body = json.dumps({"model": CHAT_MODEL, "messages": messages, "stream": stream, "max_tokens": 9})
        kills, was_down = front.kills, front.is_down
        try:
            connection = http.client.HTTPConnection("127.0.0.1", front.gateway.port, timeout=PATIENCE)
            try:
                connection.request("POST", path, body)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except TimeoutError:
            return "no answer", f"{number}: neither an answer nor an error of {path} within {PATIENCE:g} s"
        except (OSError, http.client.HTTPException) as error:
            # Honest only if the gateway itself has died meanwhile, or is not there.
            if was_down or front.kills > kills:
                return "cut", ""
            return "cut", f"{number}: {path} was cut without a reason: {type(error).__name__}: {error}"
        if answer.status != 200:
            return f"status {answer.status}", _problem(number, path, content)
        if not stream:
            return "answered", "" if said in _text(
                path, json.loads(content)
            ) else f"{number}: another answer: {content!r}"
        lines = [json.loads(line) for line in content.splitlines()]
        if "error" in lines[-1]:
            return "stream ended with an error", ""
        text = "".join(line["message"]["content"] for line in lines)
        whole = text == said and lines[-1].get("done") is True
        return "answered", "" if whole else f"{number}: a stream that is not whole: {content!r}"


def _text(path: str, document: Any) -> str:
    if path == "/v1/chat/completions":
        return str(document["choices"][0]["message"]["content"])
    if path == "/v1/messages":
        return str(document["content"][0]["text"])
    return str(document["message"]["content"])


def _problem(number: int, path: str, content: bytes) -> str:
    """Return what is wrong with an error: each has the shape of its interface, and a text."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{number}: an error of {path} that is none: {content[:200]!r}"
    text = error if path.startswith("/api/") else error.get("message")
    return "" if isinstance(text, str) and text else f"{number}: an error of {path} without a text: {content[:200]!r}"
