# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Broadcasts: one message that every node gets, and the report of each node.

The message is that of LegionIO's runner for models in S3 (lex-ollama 0.3, exchange ``lex.ollama``): a JSON object with
``function`` and its arguments. LegionIO's nodes share one queue, so only one of them gets each message; here each node
has its own queue, bound to the same key. LegionIO has no reports.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .._ollama.text import printable
from .broadcast_signatures import SigningKey, proof_fields, signature_header
from .errors import FleetError, InvalidLaneError
from .lanes import MAX_KEY, slug
from .messages import APP_ID, Message, Properties, Reply, decode, encode, property_text
from .registry import EXCHANGE as REGISTRY

#: A durable topic exchange, declared by the set-up of the broker.
EXCHANGE = "lex.ollama"

#: Prefix of the routing key of a broadcast; the function follows.
KEY = "lex.ollama.runners.s3_models."

#: Functions of a broadcast. LegionIO does not have the second one.
IMPORT = "import_from_s3"
PLAN = "plan_import_from_s3"
FUNCTIONS = (IMPORT, PLAN)

#: States of a report: received; done; refused or failed.
ACCEPTED = "accepted"
DONE = "done"
FAILED = "failed"

TYPE = "legionio.fleet.report"

#: The type of an outcome, which a node publishes to the registry for those who watch the fleet.
OUTCOME_TYPE = "legionio.fleet.outcome"

#: The arguments of a node's queue. A node that returns within a day gets its broadcasts. After three redeliveries the
#: broker drops a message that ends the node's process.
QUEUE_ARGUMENTS: Mapping[str, Any] = {
    "x-queue-type": "quorum",
    "x-expires": 86400000,
    "x-max-length": 100,
    "x-delivery-limit": 3,
    # An import may take hours, and is acknowledged at its end; the broker's default is 30 minutes.
    "x-consumer-timeout": 86400000,
}

#: The most bytes of a broadcast, which contains a name and little else.
MAX_SIZE = 65536


class BroadcastRefusedError(FleetError):
    """A broadcast asks for something that this node does not do."""

    code = "broadcast_refused"


class BroadcastRepeatedError(FleetError):
    """A node has taken the same signed broadcast before, and the broker did not mark this one as redelivered."""

    code = "broadcast_repeated"


@dataclass(frozen=True)
class Order:
    """The content of a broadcast.

    :ivar nodes: the addressed nodes; None for all.
    :ivar others: further fields of the message.
    """

    function: str
    model: str
    nodes: Optional[tuple[str, ...]] = None
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeReport:
    """The report of a node on a broadcast.

    :ivar result: the result of the import, or of its plan.
    :ivar error: ``code`` and ``message`` when it failed.
    """

    node: str
    state: str
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a broadcast on a node.

    :ivar state: ``done`` or ``failed``.
    """

    function: str
    model: str
    report: NodeReport


def queue_of(node: str) -> str:
    """Return the queue of a node.

    :raises InvalidLaneError: if no part of the name fits into a queue name, or the name is too long.
    """
    queue = f"ollama.s3_models.{slug(node)}"
    if not slug(node) or len(queue) > MAX_KEY:
        raise InvalidLaneError(
            f"The node name {printable(node)!r} cannot be part of a queue", remedy="Use a few letters and digits"
        )
    return queue


def order_message(
    order: Order, correlation_id: str, reply_to: str, seconds: float, signer: Optional[SigningKey] = None
) -> Message:
    """Write a broadcast.

    :param seconds: how long the broadcast is valid; a node that comes back later ignores it.
    :param signer: signs it; None leaves it unsigned.
    """
    body: dict[str, Any] = {"function": order.function, "model": order.model}
    if order.nodes is not None:
        body["nodes"] = list(order.nodes)
    if signer is not None:
        body.update(proof_fields(seconds))
    content = encode(body)
    properties = Properties(
        content_type="application/json",
        delivery_mode=2,
        correlation_id=correlation_id,
        reply_to=reply_to,
        message_id=f"bcast_{uuid.uuid4()}",
        expiration=str(math.ceil(seconds * 1000)),
        timestamp=int(time.time()),
        app_id=APP_ID,
    )
    return Message(properties, signature_header(content, signer) if signer is not None else {}, content)


def read_order(message: Message) -> Order:
    """Read a broadcast; the function may be a header instead, as LegionIO allows.

    :raises BroadcastRefusedError: if the message is malformed, or names another function.
    """
    document, problem = decode(message, MAX_SIZE)
    if problem is not None:
        raise BroadcastRefusedError(f"The broadcast cannot be read: {problem.message}")
    function = document.get("function", message.headers.get("function"))
    if function not in FUNCTIONS:
        raise BroadcastRefusedError(f"The function {str(function)[:100]!r} is not one of {', '.join(FUNCTIONS)}")
    model = document.get("model")
    nodes = document.get("nodes")
    if not isinstance(model, str) or not (nodes is None or isinstance(nodes, list)):
        raise BroadcastRefusedError("The broadcast names no model, or its nodes are not a list")
    others = {name: value for name, value in document.items() if name not in ("function", "model", "nodes")}
    return Order(str(function), model, None if nodes is None else tuple(str(node) for node in nodes), others)


def report_message(report: NodeReport, reply_to: str, correlation_id: Optional[str]) -> Reply:
    """Write a report."""
    properties = Properties(
        content_type="application/json",
        delivery_mode=1,
        correlation_id=property_text(correlation_id),
        message_id=f"report_{uuid.uuid4()}",
        timestamp=int(time.time()),
        type=TYPE,
        app_id=APP_ID,
    )
    return Reply("", reply_to, Message(properties, {}, encode(_document(report))))


def read_report(message: Message) -> Optional[NodeReport]:
    """Read a report; None for any other message."""
    document, problem = decode(message, limit=len(message.body))
    if problem is not None or message.properties.type != TYPE:
        return None
    return _report(document)


def outcome_message(order: Order, report: NodeReport) -> Reply:
    """Write an outcome, for the exchange of the registry. The routing key ends in the state."""
    properties = Properties(content_type="application/json", type=OUTCOME_TYPE, app_id=APP_ID, delivery_mode=1)
    body = {"function": order.function, "model": order.model} | _document(report)
    return Reply(REGISTRY, f"{REGISTRY}.import_{report.state}", Message(properties, {}, encode(body)))


def read_outcome(message: Message) -> Optional[Outcome]:
    """Read an outcome; None for any other message."""
    document, problem = decode(message, limit=MAX_SIZE)
    function, model = document.get("function"), document.get("model")
    if problem is not None or message.properties.type != OUTCOME_TYPE or function not in FUNCTIONS:
        return None
    report = _report(document)
    if report is None or report.state == ACCEPTED or not isinstance(model, str):
        return None
    return Outcome(function, model, report)


def _document(report: NodeReport) -> dict[str, Any]:
    return {"node": report.node, "state": report.state, "result": report.result, "error": report.error}


def _report(document: Mapping[str, Any]) -> Optional[NodeReport]:
    node, state = document.get("node"), document.get("state")
    if not isinstance(node, str) or state not in (ACCEPTED, DONE, FAILED):
        return None
    result, error = document.get("result"), document.get("error")
    return NodeReport(node, state, result if isinstance(result, dict) else {}, error if isinstance(error, dict) else {})
