# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a client's connection: the time of the head, and the time in which nothing is read."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvicorn
from fleet_gateway.http.server import Server, keep_uvicorn_quiet, protocol


async def endless(_scope: Any, _receive: Any, send: Any) -> None:
    """Send more than any client reads."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _part in range(1000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


async def broken(_scope: Any, _receive: Any, send: Any) -> None:
    """Begin an answer, and never end it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})


def test_answer_without_its_end_closes_the_connection_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        keep_uvicorn_quiet()
        server = Server(uvicorn.Config(broken, http=protocol(5.0, 5.0), ws="none", lifespan="off", log_config=None))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.should_exit = True
        await asyncio.wait_for(serving, 10)
        return answer

    answer = asyncio.run(test())
    assert answer.endswith(b"5\r\nbegun\r\n")
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_connection_of_a_client_that_stops_reading_ends() -> None:
    async def test() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        settings = uvicorn.Config(endless, http=protocol(5.0, 0.3), ws="none", lifespan="off", log_config=None)
        server = Server(settings)
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        client = socket.create_connection(listener.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for _turn in range(100):
            await asyncio.sleep(0.05)
            if server.server_state.connections:
                break
        assert server.server_state.connections
        for _turn in range(200):
            await asyncio.sleep(0.05)
            if not server.server_state.connections:
                break
        assert not server.server_state.connections, "the connection is still there"
        client.close()
        server.should_exit = True
        await asyncio.wait_for(serving, 10)

    asyncio.run(test())
