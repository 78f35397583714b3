# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint of carried requests: it sends a request to a node, and returns Ollama's answer while it arrives."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Callable, Optional

from starlette.types import Message, Receive, Scope, Send

from .._fleet.dialects.carried import Ending
from .._ollama.carried_paths import CARRIED_PATHS, EVENT_STREAM, is_stream
from .._ollama.carried_tokens import TokenCounter
from ..domain.allowance import Allowances
from ..domain.conversations import conversation_of
from ..domain.errors import GatewayError, event, of_failure
from ..domain.errors import document as error_document
from ..domain.fleet_view import ServedLane, short_name
from ..domain.traffic import ANSWERING, SENT, WAITING, Passage, Traffic
from ..logs.log import Log
from ..observe.metrics import Metrics
from ..observe.usage_store import UsageStore
from ..runtime.interrupts import Interrupt, within
from ..settings.config import Config
from ..settings.keys import ApiKeys
from ..transit.exchange import CarriedCall, Exchange
from ..transit.pending import PendingAnswer
from .body import ClientGoneError, document_of, model_of, received
from .keyholder import keyholder

LOG = Log()

#: The most seconds to receive and discard the rest of a refused body.
LINGER = 10.0

#: The most bytes of a stream's unfinished line that wait for the rest of the line.
LONGEST_LINE = 1024 * 1024

#: The status for a client that has disconnected, as in nginx; only the log and the metrics have it.
CLIENT_GONE = 499


class CarriedEndpoint:
    """An ASGI application for all carried paths."""

    def __init__(
        self,
        config: Config,
        exchange: Exchange,
        allowances: Allowances,
        usage: UsageStore,
        metrics: Metrics,
        keys: Optional[ApiKeys],
        traffic: Traffic,
    ) -> None:
        self._config = config
        self._exchange = exchange
        self._allowances = allowances
        self._usage = usage
        self._metrics = metrics
        self._keys = keys
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _ClientResponse(scope["path"], send, self._config.limits.unread_seconds)
        body = _RequestBody(receive)
        begun = time.monotonic()
        passage = self._traffic.begin(response.path)
        status, fields = CLIENT_GONE, {}
        try:
            fields = await self._serve(scope, body.receive, response, passage)
            status = response.status
        except GatewayError as error:
            fields = {"error": error.code}
            status = error.status
            with suppress(OSError, asyncio.TimeoutError):
                await response.refuse(error, partial(_take_rest, scope, body) if error.status == 413 else None)
        except asyncio.CancelledError:
            # The server cancels what still runs at the end of the drain, and writes what is sent now.
            end = GatewayError(503, "gateway_ends", "The gateway ends. Send the request again", retry_after=2)
            fields = {"error": end.code}
            status = end.status
            with suppress(OSError, asyncio.TimeoutError):
                await response.refuse(end)
        except (ClientGoneError, asyncio.TimeoutError, OSError):
            pass
        except Exception:
            LOG.exception("defect", path=response.path)
            status = 500
            with suppress(OSError, asyncio.TimeoutError):
                await response.refuse(GatewayError(500, "defect", "A defect of the gateway"))
        finally:
            seconds = time.monotonic() - begun
            self._metrics.ended(response.path, status, seconds)
            self._traffic.end(passage, status)
            log = LOG.info if status < 500 else LOG.warning
            log("request", path=response.path, status=status, seconds=seconds, **fields)

    async def _serve(
        self, scope: Scope, receive: Receive, response: _ClientResponse, passage: Passage
    ) -> dict[str, object]:
        """Serve a request; return the fields of its log line."""
        path = response.path
        until = time.monotonic() + self._config.deadline
        if CARRIED_PATHS.get(path) is None:
            raise GatewayError(404, "not_found", "There is no such path")
        key = keyholder(scope, self._keys)
        passage.key = key.name
        body = await received(scope, receive, self._config.limits)
        document = document_of(body)
        model = model_of(document)
        if not key.allows(model):
            raise GatewayError(403, "model_not_allowed", f"The key {key.name} may not use the model {model[:200]!r}")
        passage.model, passage.stage = model[:200], WAITING
        with self._allowances.request(key):
            conversation = partial(conversation_of, path, scope["headers"], document, key.name)
            call = CarriedCall(path, body, model, key, until, conversation)
            hang_up = Interrupt()
            gone = asyncio.ensure_future(_hang_up(receive))
            gone.add_done_callback(hang_up)
            try:
                return {"key": key.name, "model": model, **await self._answer(call, response, passage)}
            except asyncio.CancelledError:
                if hang_up.has_come:
                    raise ClientGoneError from None
                raise
            finally:
                hang_up.close()
                gone.cancel()

    async def _answer(self, call: CarriedCall, response: _ClientResponse, passage: Passage) -> dict[str, object]:
        begun = time.monotonic()
        lane = await self._exchange.lane_of(call.path, call.model, call.until, call.key)
        passage.lane, passage.model = lane.queue, short_name(lane.model)
        async with self._exchange.answer(call, lane) as pending:
            passage.stage = SENT
            try:
                ending = await self._pass_on(call, pending, response, passage, begun)
            except BaseException:
                # A client that hangs up before the end must not use a node for nothing.
                input_tokens, output_tokens, estimated = response.passed.tokens_so_far()
                if input_tokens or output_tokens:
                    self._count(call, lane, passage, input_tokens, output_tokens, estimated=estimated)
                raise
            # Count the tokens before the client has the end, so that no client gets an answer that is not counted.
            self._count(call, lane, passage, ending.input_tokens, ending.output_tokens, estimated=ending.estimated)
            if pending.place is not None:
                self._metrics.turn(pending.place.kept_by(ending.node))
            await response.finish(ending)
        return {
            "node": ending.node,
            "lane": lane.queue,
            "input_tokens": ending.input_tokens,
            "output_tokens": ending.output_tokens,
        }

    async def _pass_on(
        self, call: CarriedCall, pending: PendingAnswer, response: _ClientResponse, passage: Passage, begun: float
    ) -> Ending:
        """Pass the pieces of an answer on; return its end."""
        while True:
            try:
                with within(call.until - time.monotonic()):
                    part = await pending.next()
            except asyncio.TimeoutError:
                raise GatewayError(504, "deadline_exceeded", "The answer did not come in time") from None
            passage.node, passage.stage = part.node or "", ANSWERING
            if not response.status:
                self._metrics.first_byte(call.path, time.monotonic() - begun)
            if isinstance(part, Ending):
                if part.failure is not None:
                    raise of_failure(part.failure)
                return part
            await response.begin(part.status, part.content_type)
            await response.more(part.body)

    def _count(
        self,
        call: CarriedCall,
        lane: ServedLane,
        passage: Passage,
        input_tokens: int,
        output_tokens: int,
        *,
        estimated: bool,
    ) -> None:
        passage.input_tokens, passage.output_tokens = input_tokens, output_tokens
        self._usage.add(call.key.name, lane.model, input_tokens, output_tokens, estimated=estimated)
        self._metrics.used(call.key.name, lane.model, input_tokens, output_tokens)


async def _hang_up(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


class _RequestBody:
    """The body of a request.

    :ivar is_complete: whether the last part has been received.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_complete = False

    async def receive(self) -> Message:
        """Receive the next message."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.is_complete = True
        return message


async def _take_rest(scope: Scope, body: _RequestBody) -> None:
    """Receive and discard the rest of a refused body.

    If the gateway closed the connection earlier, the client would see a reset instead of the error.
    """
    if any(name == b"expect" for name, _value in scope["headers"]):
        return  # the client sends the body only after the server asks for it

    with suppress(asyncio.TimeoutError), within(LINGER):
        while not body.is_complete:
            await body.receive()


class _ClientResponse:
    """The response to one request. It begins at most once, and an error has the format of its interface.

    :ivar status: the status of the response; 0 before it begins.
    :ivar passed: has the parts of the body but the last one.
    """

    def __init__(self, path: str, send: Send, seconds: float) -> None:
        self.path = path
        self._send = send
        self._seconds = seconds
        self._content_type = ""
        self._rest = b""
        self.status = 0
        self.passed = TokenCounter()

    async def begin(self, status: int, content_type: str, headers: Optional[dict[str, str]] = None) -> None:
        """Send the head, unless it has been sent."""
        if self.status:
            return
        self.status, self._content_type = status, content_type
        named = {
            "content-type": content_type or "application/octet-stream",
            "x-accel-buffering": "no",
            **(headers or {}),
        }
        encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in named.items()]
        await self._put({"type": "http.response.start", "status": status, "headers": encoded})

    async def more(self, body: bytes) -> None:
        """Send a part of the body; keep an unfinished line of a stream back, so that an error begins a line."""
        if not body:
            return
        self.passed.add(body)
        body = self._rest + body
        self._rest = b""
        if self._is_stream and len(body) <= LONGEST_LINE:
            end = body.rfind(b"\n") + 1
            body, self._rest = body[:end], body[end:]
        if body:
            await self._put({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self, ending: Ending) -> None:
        """Send the end of an answer; without pieces, the end has the whole body."""
        length = {} if self.status else {"content-length": str(len(ending.body))}
        await self.begin(ending.status, ending.content_type, length)
        await self._put({"type": "http.response.body", "body": self._rest + ending.body, "more_body": False})

    async def refuse(self, error: GatewayError, finish: Optional[Callable[[], Awaitable[None]]] = None) -> None:
        """Send an error, as a response or as the last event of a stream.

        Any other body that has begun stays without its end, and the server closes the connection. With an error in the
        body, a client would take the body as complete.

        :param finish: called before the end of the response.
        """
        if self.status:
            if self._is_stream:
                content = event(error, self.path, self._content_type)
                # In a stream of events, an empty line ends an event of the node that lacks its own.
                end = b"\n" if self._content_type.startswith(EVENT_STREAM) else b""
                await self._put({"type": "http.response.body", "body": end + content, "more_body": False})
            return
        content = json.dumps(error_document(error, self.path)).encode()
        headers = {"content-length": str(len(content))}
        if error.retry_after is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after))
        if error.status in (408, 413):
            headers["connection"] = "close"  # the rest of the body is not read
        await self.begin(error.status, "application/json", headers)
        if finish is not None:
            await self.more(content)
            content = b""
            await finish()
        await self._put({"type": "http.response.body", "body": content, "more_body": False})

    @property
    def _is_stream(self) -> bool:
        return is_stream(self._content_type)

    async def _put(self, message: dict[str, object]) -> None:
        # A client that does not read must not keep the answer in memory for ever.
        with within(self._seconds):
            await self._send(message)
