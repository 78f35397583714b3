# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama that answers at once, so that what is measured is everything but inference.

usage: stub.py MODEL...     (prints its port, and ends when its standard input does)

It speaks Ollama's own interface, and OpenAI's chat completions. There, a request with ``stream`` is answered with as
many ``pieces`` as it wants, and a ``pause`` before each.

It is written on bare asyncio because its own time is part of every contestant's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

_ANSWER = {
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "Good morning."},
    "done": True,
    "done_reason": "stop",
    "total_duration": 1,
    "load_duration": 1,
    "prompt_eval_count": 3,
    "prompt_eval_duration": 1,
    "eval_count": 2,
    "eval_duration": 1,
}


COMPLETIONS = "/v1/chat/completions"

_COMPLETION = {"id": "chatcmpl-1", "created": 1_767_225_600}


class Stub(asyncio.Protocol):
    """One connection, kept alive; requests have a Content-Length, as those of every client here do."""

    def __init__(self, models: list[str]) -> None:
        self._models = [{"name": name, "model": name, "digest": "0" * 64} for name in models]
        self._seen = b""
        self._transport: Any = None
        self._streaming: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n")) >= 0:
            head = self._seen[:end]
            length = _length(head)
            if len(self._seen) < end + 4 + length:
                return
            body = self._seen[end + 4 : end + 4 + length]
            self._seen = self._seen[end + 4 + length :]
            path = head.split(b" ", 2)[1].decode()
            asked = json.loads(body) if path == COMPLETIONS else {}
            if asked.get("stream"):
                self._streaming = asyncio.ensure_future(self._stream(asked))
                continue
            content = json.dumps(self._answer(path, body)).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(content), content)
            )

    def _answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/tags":
            return {"models": self._models}
        if path == "/api/version":
            return {"version": "0.24.0"}
        if path == COMPLETIONS:
            choice = {"index": 0, "message": _ANSWER["message"], "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            return {**_COMPLETION, "object": "chat.completion", "model": "x", "choices": [choice], "usage": usage}
        if path == "/api/show":
            return {"capabilities": ["completion"]}
        return {"model": json.loads(body)["model"], **_ANSWER} if body else {"models": []}

    async def _stream(self, asked: dict[str, Any]) -> None:
        head = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._transport.write(b"HTTP/1.1 200 OK\r\n" + head)
        for _piece in range(asked.get("pieces", 3)):
            await asyncio.sleep(asked.get("pause", 0))
            self._event({"delta": {"content": "word "}, "finish_reason": None})
        self._event({"delta": {}, "finish_reason": "stop"})
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _event(self, choice: dict[str, Any]) -> None:
        event = {**_COMPLETION, "object": "chat.completion.chunk", "model": "x", "choices": [{"index": 0, **choice}]}
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, content: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(content), content))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _colon, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(sys.argv[1:]), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
