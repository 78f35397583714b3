# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scripted Ollama with malformed answers to marked requests, and valid answers to all others."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from fleet_parts import answer

from .odd_json import nested, nested_objects, odd_number, odd_text, odd_value, plain, written
from .odd_requests import ODD_ANSWER

_MARK = re.compile(re.escape(ODD_ANSWER) + "([0-9]+)")

#: A request with this in it gets no answer for a while.
HANG = "hang-until-let-go"
HANG_AT_MOST = 120.0

_STATUSES = (
    204,
    206,
    301,
    304,
    400,
    401,
    403,
    404,
    409,
    413,
    422,
    429,
    499,
    500,
    500,
    500,
    501,
    502,
    504,
    599,
    600,
    999,
)

#: What Ollama says in earnest when something is wrong with a request. That it is busy (503), or has too little memory
#: for a model, no request can cause; all requests for the model wait then.
_ERRORS = (
    b'"llama runner process has terminated: signal: killed"',
    b'"the input length exceeds the context length"',
    b'"invalid format: \\"yaml\\"; expected \\"json\\" or a JSON schema"',
    b'"failed to encode response: json: unsupported value: NaN"',
    b"\"model 'smollm2:135m' not found\"",
    b"\"error parsing tool call: raw='{', err=unexpected end of JSON input\"",
)


class OddOllama:
    """The answers of a :class:`ScriptedOllama`. Use it as its ``behave``.

    :ivar go_on: until it is set, requests with :data:`HANG` get no answer.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        text = json.dumps(body)
        if HANG in text:
            self.go_on.wait(HANG_AT_MOST)
        if path == "/api/embed" and not isinstance(body.get("input"), (str, list)):
            return 400, {"error": "invalid input type"}
        found = _MARK.search(text)
        if found is None:
            return answer(path, body)
        with self._lock:
            self._asked[found[1]] += 1
            asked = self._asked[found[1]]
        random = Random(found[1])
        if random.random() < 0.05 and asked <= random.randint(1, 3):
            return None
        return odd_stream(random, path, body) if body.get("stream") else (0, odd_answer(random, path, body))


def odd_inventory(random: Random) -> bytes:
    """Return a malformed answer in place of the list of models, or of the version."""
    documents = (
        b'{"models":5}',
        b'{"models":[5,null,{"name":7}]}',
        b"[]",
        b"null",
        b"{",
        b'{"models":null}',
        odd_value(random),
    )
    return random.choice((_http(200, random.choice(documents)), _http(500, b"x"), odd_head(random, b"{}")))


def odd_answer(random: Random, path: str, body: dict[str, Any]) -> bytes:
    """Return an answer that is not streamed, head included."""
    choice = random.randrange(20)
    if choice < 3:
        return _http(random.choice(_STATUSES), odd_error(random))
    if choice < 6:
        return odd_head(random, plain(answer(path, body)[1]))
    if choice < 8:
        return _http(
            200, random.choice((odd_error(random), b"", b"null", b"[]", b'"text"', b"{", b"\xff", b"{}", b"{}{}"))
        )
    if choice < 9:
        return _http(200, random.choice((nested, nested_objects))(random.choice((980, 5000, 100_000))))
    return _http(200, odd_document(random, path, body))


def odd_document(random: Random, path: str, body: dict[str, Any]) -> bytes:
    """Return a document of Ollama with one to three fields changed."""
    fields = {name: plain(value) for name, value in answer(path, body)[1].items()}
    for _one in range(random.choice((1, 1, 2, 3))):
        name = random.choice(
            (*fields, *_COUNTS, "done", "done_reason", "message", "response", "embeddings", "thinking")
        )
        if name in _COUNTS:
            fields[name] = odd_number(random)
        elif name == "message":
            fields[name] = _odd_message(random)
        elif name == "embeddings":
            fields[name] = random.choice(_EMBEDDINGS)
        else:
            fields[name] = odd_value(random)
    return written(fields)


_COUNTS = ("eval_count", "prompt_eval_count", "total_duration", "load_duration", "eval_duration")
_EMBEDDINGS = (
    b"null",
    b"[]",
    b"[[]]",
    b"[[0.5,NaN]]",
    b"[[1e999]]",
    b'[["0.5"]]',
    b"[null]",
    b"[" + b"[0.5]," * 999 + b"[0.5]]",
    b"[[0.5],[0.5,0.5]]",
    b"5",
    b"[5]",
    nested(980),
    b"[[" + b"0.25," * 20_000 + b"0]]",
)


def _odd_message(random: Random) -> bytes:
    fields = {"role": b'"assistant"', "content": b'"Good morning."'}
    for name in random.sample(("role", "content", "thinking", "tool_calls", "images"), 2):
        fields[name] = random.choice((odd_text(random), odd_value(random), b'"' + b"x" * 1_200_000 + b'"'))
    return random.choice((written(fields), written(fields), odd_value(random)))


def odd_error(random: Random) -> bytes:
    """Return the body of a failure."""
    message = random.choice((*_ERRORS, *_ERRORS, odd_text(random), odd_value(random), b'"' + b"x" * 300_000 + b'"'))
    return random.choice((written({"error": message}),) * 6 + (b"<html>Bad Gateway</html>", b"", b"\xff\xfe"))


def odd_head(random: Random, body: bytes) -> bytes:
    """Return an answer with malformed HTTP."""
    length = b"Content-Length: %d\r\n" % len(body)
    chunked = b"Transfer-Encoding: chunked\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    good = b"HTTP/1.1 200 OK\r\n"
    return random.choice(
        (
            good + length + b"Content-Length: 1\r\n\r\n" + body,
            good + b"Content-Length: -5\r\n\r\n" + body,
            good + b"Content-Length: 99999999999999999999\r\n\r\n" + body,
            good + b"Content-Length: %d\r\n\r\n" % (len(body) + 10) + body,
            good + b"Content-Length: 3\r\n\r\n" + body,
            good + length + b"X-Name: caf\xe9 \xe2\x82\xac\r\n\r\n" + body,
            good + length + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n" + body,
            good + b"".join(b"X-%d: x\r\n" % number for number in range(300)) + length + b"\r\n" + body,
            good + length + b"X-Folded: a\r\n b\r\n\r\n" + body,
            good + length + b": no name\r\nno colon\r\n\r\n" + body,
            good + length + b"Content-Encoding: gzip\r\n\r\n" + body,
            good + length + b"Content-Encoding: br\r\n\r\n" + body,
            good + chunked + b"\r\n" + chunk + b"0\r\n\r\n",
            good + chunked + b"\r\n" + chunk + b"0\r\nTrailer: x\r\n\r\n",
            good + chunked + b"\r\n" + b"-5\r\n" + body,
            good + chunked + b"\r\n" + b"ffffffffffffffff\r\n" + body,
            good + chunked + b"\r\n" + b"zz\r\n" + body,
            good + chunked + b"\r\n" + chunk[:-5],
            good + chunked + length + b"\r\n" + chunk + b"0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + good + length + b"\r\n" + body,
            b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + good + length + b"\r\n" + body,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + body,
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/2 200\r\n" + length + b"\r\n" + body,
            b"HTTP/1.1 2000 OK\r\n" + length + b"\r\n" + body,
            b"HTTP/1.1 200\r\n" + length + b"\r\n" + body,
            b"HTTP/1.0 200 OK\r\n\r\n" + body,
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\r\n\r\n",
            b"",
        )
    )


def odd_stream(random: Random, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Return a stream: a status and the documents of its lines, or all bytes, head included."""
    last = plain(answer(path, body)[1])
    field = "message" if path == "/api/chat" else "response"
    said = b'{"message":{"role":"assistant","content":"Go"},"response":"Go","done":false}'
    choice = random.randrange(8)
    if choice == 0:
        return 0, odd_answer(random, path, body)
    if choice == 1:
        return 0, odd_head(random, said + b"\n" + last + b"\n")
    if choice == 2:
        return 200, _breaking(json.loads(said))
    lines = [said] * random.randrange(3)
    for _one in range(random.randint(1, 3)):
        lines.append(
            random.choice(
                (
                    written({field: odd_value(random), "done": b"false"}),
                    written({field: _odd_message(random), "done": b"false"}),
                    odd_document(random, path, body),
                    odd_error(random),
                    odd_value(random),
                    b"",
                    b"data: {}",
                    last,
                )
            )
        )
    if random.random() < 0.7:
        lines.append(last)
    content = b"".join(line + b"\n" for line in lines)
    return 0, _http(200, content if random.random() < 0.8 else content[:-3])


def _breaking(piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield piece
    raise ConnectionError


def _http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Odd\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )
