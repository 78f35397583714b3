# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's application without a server and without a broker: a fleet in memory answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

from fleet_gateway._fleet.carried import CarriedAnswer
from fleet_gateway._fleet.dialects import carried
from fleet_gateway._fleet.dialects.base import ReplyIdentity
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.messages import Failure, Message, Request, Success
from fleet_gateway._fleet.registry import AVAILABLE, Offering
from fleet_gateway.domain.allowance import Allowances
from fleet_gateway.domain.fleet_view import FleetView
from fleet_gateway.domain.traffic import Traffic
from fleet_gateway.http.app import application
from fleet_gateway.http.carried import CarriedEndpoint
from fleet_gateway.http.listing import Listing
from fleet_gateway.http.page import StatusPage
from fleet_gateway.http.page_state import PageState
from fleet_gateway.observe.metrics import Metrics
from fleet_gateway.observe.usage_store import UsageStore
from fleet_gateway.settings.config import Config
from fleet_gateway.settings.keys import ApiKeys
from fleet_gateway.transit.exchange import Exchange

MODEL = "m:1"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
NODE = ReplyIdentity("gpu-01")


@dataclass
class MemorySession:
    """Takes requests instead of a broker, and refuses those that a test wants refused.

    :ivar refusals: the reason, by routing key.
    """

    is_up: bool = True
    trouble: str = "gone"
    reply_queue: str = "llm.fleet.reply.gw-test"
    sent: list[tuple[str, Message]] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    cancelled: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def publish(self, message: Message, routing_key: str, refused: Callable[[str], None]) -> None:
        self.sent.append((routing_key, message))
        if routing_key in self.refusals:
            refused(self.refusals[routing_key])

    def cancel(self, nodes: Iterable[str], correlation_id: str) -> None:
        self.cancelled.append((tuple(nodes), correlation_id))

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0)


class Client:
    """One request of HTTP, as a server of ASGI hands it on.

    :ivar gone: set, the client has hung up.
    :ivar is_complete: whether the response has its end.
    """

    def __init__(self, path: str, body: Any = None, method: str = "POST", host: str = "127.0.0.1", **headers: str):
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": (host, 1),
            "server": ("127.0.0.1", 2),
        }
        self._parts: list[dict[str, Any]] = [{"type": "http.request", "body": content, "more_body": False}]
        self.gone = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False
        self.stuck = False

    def sends(self, *parts: bytes) -> None:
        """Send the body in these parts."""
        self._parts = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self._parts[-1]["more_body"] = False

    @property
    def left(self) -> int:
        """Parts of the body that nobody has taken."""
        return len(self._parts)

    def hangs(self) -> None:
        """Send nothing of the body."""
        self._parts.clear()

    async def receive(self) -> dict[str, Any]:
        if self._parts:
            return self._parts.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.stuck:
            await asyncio.sleep(3600)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_complete = not message.get("more_body", False)

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Front:
    """The application, and the fleet that it sees."""

    def __init__(self, directory: Path, *, keys: Optional[ApiKeys] = None, **settings: Any) -> None:
        self.config = Config.model_validate({"broker": {"addresses": ["hub"]}, "node_timeout": 0.2, **settings})
        self.view = FleetView(75)
        self.exchange = Exchange(self.config, self.view)
        self.session = MemorySession()
        self.exchange.use(self.session)  # type: ignore[arg-type]
        self.usage = UsageStore(str(directory))
        self.metrics = Metrics(lambda: [("connected", "Whether.", 1.0)], node="front-01")
        allowances = Allowances(self.usage.tokens_today)
        self.traffic = Traffic()
        self.endpoint = CarriedEndpoint(
            self.config, self.exchange, allowances, self.usage, self.metrics, keys, self.traffic
        )
        listing = Listing(self.view, self.exchange, keys, self.config)
        self.state: dict[str, Any] = {
            "ready": True,
            "reason": "",
            "node": "gw",
            "version": "1",
            "since": 0.0,
            "keys": None,
            "lanes": [],
        }
        page_state = PageState(
            lambda: self.state, self.view.announcements, self.traffic, self.session.depths, timeout=75
        )
        page = StatusPage(page_state, self.config.page, keys)
        self.app = application(self.config, self.endpoint, listing, page, self.metrics, lambda: self.state)

    def serve(self, name: str = "gpu-01", call: str = "chat", slots: int = 2, **style: Any) -> None:
        """Have a node announce a lane."""
        made = lane(call, MODEL, **style)
        self.exchange.take_registry_event(Offering(made, name, slots).event(AVAILABLE).message)

    def ask(self, client: Client) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.app(client.scope, client.receive, client.send))  # type: ignore[arg-type]

    async def published(self, number: int = 1) -> Message:
        """Wait until so many requests are out; return the last one."""
        for _turn in range(1000):
            if len(self.session.sent) >= number:
                return self.session.sent[number - 1][1]
            await asyncio.sleep(0.001)
        raise AssertionError(f"{len(self.session.sent)} requests are out, not {number}")

    def _request(self, message: Message) -> Request:
        properties = message.properties
        return Request("chat", "chat", MODEL, {}, properties.reply_to, properties.correlation_id)

    def answer(self, message: Message, body: bytes = b"{}", status: int = 200, node: str = "gpu-01") -> None:
        """Have a node answer with a whole body."""
        said = CarriedAnswer(status, "application/json", body, (3, 2, False))
        worker = replace(NODE, node=node)
        self.exchange.take_reply(carried.write(self._request(message), Success(said, 0.0, 0.1), worker).message)

    def piece(
        self, message: Message, number: int, body: bytes, attempt: str = "a", content_type: str = "application/x-ndjson"
    ) -> None:
        """Have a node send a piece of an answer."""
        piece = carried.AnswerPiece(attempt, number, body, 200, content_type)
        self.exchange.take_reply(carried.write_piece(self._request(message), piece, NODE).message)

    def end(self, message: Message, pieces: int, attempt: str = "a") -> None:
        """Have a node end a stream."""
        said = CarriedAnswer(200, "application/x-ndjson", b"", (3, 2, False), streamed=True)
        ended = carried.write(self._request(message), Success(said, 0.0, 0.1), NODE).message
        headers = {**ended.headers, "x-legion-fleet-attempt": attempt, "x-legion-fleet-deltas": pieces}
        self.exchange.take_reply(replace(ended, headers=headers))

    def fail(self, message: Message, failure: Failure) -> None:
        """Have a node fail."""
        self.exchange.take_reply(carried.write(self._request(message), failure, NODE).message)


def run(test: Awaitable[None]) -> None:
    """Run a test within a bound."""

    async def bounded() -> None:
        await asyncio.wait_for(test, 30)

    asyncio.run(bounded())
