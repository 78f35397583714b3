# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of HTTP, as many as wanted, in one process: the same for every contestant.

Each client keeps its connection. It is written on bare asyncio because its own time is part of every contestant's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

#: Seconds without an answer after which something must be broken.
PATIENCE = 120.0


@dataclass
class Reply:
    """What came back.

    :ivar first: seconds until the first part of the body.
    :ivar seconds: until its end.
    :ivar parts: parts of the body, as they came.
    """

    status: int
    first: float
    seconds: float
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class HttpClient:
    """One client with one connection, which it keeps."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._streams: Optional[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = None

    async def ask(self, body: dict[str, Any], **headers: str) -> Reply:
        """Ask once.

        :raises RuntimeError: when the answer is no 200.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        reader, writer = self._streams
        content = json.dumps(body).encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}"
        start = time.perf_counter()
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        reply = Reply(0, 0.0, 0.0)
        async for part in self._read(reader, reply):
            if not reply.parts:
                reply.first = time.perf_counter() - start
            reply.parts.append(part)
        reply.seconds = time.perf_counter() - start
        if reply.status != 200:
            raise RuntimeError(f"{self._path} at {self._port}: {reply.status} {reply.body[:500]!r}")
        return reply

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _read(self, reader: asyncio.StreamReader, reply: Reply) -> AsyncIterator[bytes]:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        status, *lines = head[:-4].split(b"\r\n")
        reply.status = int(status.split()[1])
        named = dict(line.lower().split(b":", 1) for line in lines)
        if b"content-length" in named:
            yield await reader.readexactly(int(named[b"content-length"]))
            return
        while size := int(await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)


async def burst(port: int, path: str, body: dict[str, Any], number: int, flight: int) -> list[Reply]:
    """Ask so often, with so many requests in flight."""
    left = iter(range(number))
    replies: list[Reply] = []

    async def client() -> None:
        one = HttpClient(port, path)
        for _turn in left:
            reply = await one.ask(body)
            replies.append(reply)
        await one.close()

    await asyncio.gather(*(client() for _client in range(flight)))
    return replies


async def together(port: int, path: str, bodies: Sequence[dict[str, Any]]) -> list[Reply]:
    """Ask everything at once, each on a connection of its own."""

    async def client(body: dict[str, Any]) -> Reply:
        one = HttpClient(port, path)
        try:
            return await one.ask(body)
        finally:
            await one.close()

    return await asyncio.gather(*map(client, bodies))
