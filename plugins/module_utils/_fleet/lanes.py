# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Lanes: a lane is a queue for one model and one kind of request.

The queue is bound to a routing key of the same name, and perhaps to more keys.

There are four styles.

``model``
    ``llm.request.ollama.<type>.<model>``, as lex-ollama 0.3.1 declares it: durable, quorum, dead-lettered to the
    exchange ``ollama.dlx``. Only ``:`` is replaced in the model's name, by a dot.
``shared``
    ``llm.fleet.embed.<slug>`` or ``llm.fleet.inference.<slug>[.ctx<N>]``, as lex-ollama 0.3.5 to 0.3.10 declares it:
    durable, quorum, bounded, expiring. Any provider's worker of that model may consume it; chat and generate share it.
``offering``
    ``llm.fleet.offering.<node>.<slug>.<kind>``: a lane of one node, to ask this node and no other. It has the arguments
    of a shared lane.
``node``
    ``llm.request.ollama.node.<node>.<type>.<model>``: a lane of one node, which passes to the lane of style ``model``
    the requests that the node does not take in time. A gateway uses it for the turns of a conversation.

LegionIO's newer requesters add suffixes to the key of a shared lane: ``.ctx<N>`` with the context window that they
assume for the model, ``.boundary.<name>`` and ``.elig.<fingerprint>`` by their policies. If no queue is bound to a key,
they conclude that no worker exists. So the queue of a shared lane may be bound to several keys.

The arguments are LegionIO's exactly, because LegionIO deletes and recreates a queue whose arguments differ from its
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Optional

from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName
from .errors import InvalidLaneError, LaneCollisionError

TYPES = ("chat", "generate", "embed")
STYLES = ("model", "shared", "offering")

#: The style of the lanes that a worker adds for its lanes of style ``model``. No configuration lists them.
NODE = "node"

#: Where dead-lettered requests of model lanes go: a durable fanout exchange, declared by the set-up of the broker.
DEAD_LETTER_EXCHANGE = "ollama.dlx"

#: The most bytes of a queue name or routing key: AMQP 0-9-1 sends them as short strings.
MAX_KEY = 255

#: The suffix that stands for any suffix, and the part of a suffix that stands for any context window. In the binding
#: key of a topic exchange, they match any number of words and exactly one word. The name of a policy is one word.
ANY = "#"
ANY_CONTEXT = "*"

#: A suffix of the key of a shared lane: ``#``, or at least one of the three parts. LegionIO allows 1 to 64 characters
#: in a name.
_SEGMENT = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
_SUFFIX = re.compile(
    rf"#|(?=.)(?:ctx[1-9][0-9]{{0,8}}|\*)?(?:(?:^|\.)boundary\.{_SEGMENT})?(?:(?:^|\.)elig\.{_SEGMENT})?"
)

#: Styles with a lane for each type, which keep the model's name except for its colon.
_BY_TYPE = ("model", NODE)

_MODEL_ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE}
)
_SHARED_ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "x-queue-type": "quorum",
        "x-queue-leader-locator": "balanced",
        "x-expires": 60000,
        "x-message-ttl": 120000,
        "x-overflow": "reject-publish",
        "x-max-length": 100,
        "x-delivery-limit": 3,
        "x-consumer-timeout": 300000,
    }
)

#: Dead-lettering at least once requires reject-publish. Both times are in milliseconds. ``x-message-ttl`` is for
#: messages without an expiration. ``x-expires`` outlasts any restart of a node, and removes the queue of a node that is
#: gone.
_NODE_ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-message-ttl": 10000,
        "x-expires": 86400000,
    }
)

#: Redeliveries after which RabbitMQ 4.0 drops a message of a quorum queue without its own limit. Older brokers have no
#: default; the same limit applies there.
DEFAULT_DELIVERY_LIMIT = 20

#: Seconds that a request may take. RabbitMQ takes back unacknowledged messages after the queue's x-consumer-timeout, or
#: after its own 30 minutes, and checks about once a minute. These limits leave time to answer.
_MODEL_DEADLINE = 1500.0
_SHARED_DEADLINE = 280.0


@dataclass(frozen=True)
class Lane:
    """A lane of a worker, made and checked by :func:`lane`.

    :ivar type: ``chat``, ``generate`` or ``embed``: the type of a request without a type.
    :ivar kind: ``type`` in the styles ``model`` and ``node``; ``embed`` or ``inference`` in the others.
    :ivar queue: name of the queue, and its routing key on every exchange.
    :ivar context_window: tokens; if set, the runner option ``num_ctx`` of every request of the lane.
    :ivar more_keys: routing keys that the queue is bound to beside its own name.
    :ivar heir: for the style ``node``: the queue that gets the requests that the node does not take in time.
    """

    style: str
    type: str
    kind: str
    model: str
    queue: str
    context_window: Optional[int] = None
    more_keys: tuple[str, ...] = ()
    heir: Optional[str] = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The routing keys that the queue is bound to on every exchange."""
        return (self.queue, *self.more_keys)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the queue's declaration, besides durable=true and auto_delete=false."""
        if self.heir is not None:
            return {**_NODE_ARGUMENTS, "x-dead-letter-routing-key": self.heir}
        return dict(_MODEL_ARGUMENTS if self.style == "model" else _SHARED_ARGUMENTS)

    @property
    def delivery_limit(self) -> int:
        """Redeliveries that the broker allows. At one more, it drops or dead-letters the request."""
        limit: int = self.arguments.get("x-delivery-limit", DEFAULT_DELIVERY_LIMIT)
        return limit

    @property
    def deadline(self) -> float:
        """Seconds that a request may take by default, safely below the time after which the broker takes it back."""
        return _MODEL_DEADLINE if self.style in _BY_TYPE else _SHARED_DEADLINE

    @property
    def ack_timeout(self) -> Optional[float]:
        """Seconds after which the broker takes a request back; None if the queue does not set this time."""
        timeout = self.arguments.get("x-consumer-timeout")
        return None if timeout is None else timeout / 1000

    def names(self, model: str) -> bool:
        """Return whether a requester that names this model means the model of this lane.

        It does if both names stand for one model, or if both give the same routing key: LegionIO may write
        ``qwen3-5-27b`` for ``qwen3.5:27b``.
        """
        if model == self.model or _segment(self.style, model) == _segment(self.style, self.model):
            return True
        try:
            return ModelName.parse(model).key == ModelName.parse(self.model).key
        except InvalidNameError:
            return False


def lane(
    request_type: str,
    model: str,
    *,
    style: str = "model",
    context_window: Optional[int] = None,
    node: Optional[str] = None,
    suffixes: Iterable[str] = (),
) -> Lane:
    """Make a lane.

    :param request_type: ``chat``, ``generate`` or ``embed``.
    :param model: the model as requesters spell it; ``llama3`` and ``llama3:latest`` are two lanes of style ``model``.
    :param context_window: tokens; part of the name of a shared inference lane.
    :param style: one of ``STYLES``, or ``NODE``.
    :param node: name of the node, for the styles ``offering`` and ``node``.
    :param suffixes: suffixes for further keys of a shared lane: ``ctx32768``, ``boundary.eu``,
        ``ctx32768.elig.0123abcd``, with ``*`` for any context window; or ``#`` for any suffix.
    :raises InvalidNameError: if ``model`` is not a model name.
    :raises InvalidLaneError: if the lane cannot be a queue, or an option does not fit.
    """
    ModelName.parse(model)
    if request_type not in TYPES or style not in (*STYLES, NODE):
        raise InvalidLaneError(
            f"There is no lane of type {request_type!r} and style {style!r}",
            remedy=f"Choose a type of {', '.join(TYPES)} and a style of {', '.join(STYLES)}",
        )
    kind = request_type if style in _BY_TYPE else "embed" if request_type == "embed" else "inference"
    if context_window is not None and (style in _BY_TYPE or kind == "embed"):
        raise InvalidLaneError(
            f"The lane for {model} has a context window, which only inference lanes of style shared or offering have",
            remedy="Remove context_window, or set style to shared",
            name=model,
        )
    queue = _queue(style, kind, model, context_window, node)
    more_keys = _more_keys(style, kind, model, queue, suffixes)
    for key in (queue, *more_keys):
        size = len(key.encode("utf-8"))
        if size > MAX_KEY:
            raise InvalidLaneError(
                f"The lane for {model} would be called {key}, which has {size} bytes; RabbitMQ allows {MAX_KEY}",
                remedy="Give the model a shorter name, for example with ollama cp",
                name=model,
            )
    heir = _queue("model", kind, model, None, None) if style == NODE else None
    return Lane(style, request_type, kind, model, queue, context_window, more_keys, heir)


def _more_keys(style: str, kind: str, model: str, queue: str, suffixes: Iterable[str]) -> tuple[str, ...]:
    keys: list[str] = []
    for suffix in suffixes:
        if style != "shared":
            raise InvalidLaneError(
                f"The lane for {model} has suffixes, which only lanes of style shared have",
                remedy="Remove suffixes, or set style to shared",
                name=model,
            )
        if not _SUFFIX.fullmatch(suffix):
            raise InvalidLaneError(
                f"The suffix {suffix!r} of the lane for {model} is not a suffix that requesters write",
                remedy="Write ctx<N> (or * for any N), boundary.<name> and elig.<fingerprint>, in this order and with"
                " dots between them, or # for anything",
                name=model,
            )
        key = f"{_queue(style, kind, model, None, None)}.{suffix}"
        if key != queue and key not in keys:
            keys.append(key)
    return tuple(keys)


def check_collisions(lanes: Iterable[Lane]) -> None:
    """Refuse lanes that would share one queue.

    Different models can have one key: ``a:b`` and ``a.b`` do in style ``model``, and slugs keep even less of a name.

    :raises LaneCollisionError: naming both lanes and the queue.
    """
    seen: dict[str, Lane] = {}
    for entry in lanes:
        first = seen.setdefault(entry.queue, entry)
        if first is entry:
            continue
        if first.model == entry.model and first.type == entry.type:
            message, remedy = f"The lane {entry.queue} is listed twice", "Remove one of them"
        elif first.model == entry.model:
            message = f"The lanes {first.type} and {entry.type} of {entry.model} are both the queue {entry.queue}"
            remedy = f"Remove one of them: lanes of style {entry.style} serve chat and generate alike"
        else:
            message = f"The models {first.model} and {entry.model} are both the queue {entry.queue}"
            remedy = "Serve one of them only, or copy one to a name that stays different"
        raise LaneCollisionError(message, remedy=remedy, queue=entry.queue)
    _check_keys(seen.values())


def _check_keys(lanes: Iterable[Lane]) -> None:
    """Refuse two queues for one key: both would get each request, and two workers would answer it."""
    listed = list(lanes)
    for entry in [entry for entry in listed if entry.more_keys]:
        for other in listed:
            key = shared_key(entry, other)
            if key is not None and other is not entry:
                raise LaneCollisionError(
                    f"The lanes {entry.queue} and {other.queue} would both get what is sent to {key}",
                    remedy=f"Remove this suffix of {entry.queue}, or the other lane",
                    queue=entry.queue,
                )


def shared_key(one: Lane, other: Lane) -> Optional[str]:
    """Return a key of ``other`` whose requests would also reach ``one``; None without such a key."""
    for key in one.more_keys:
        for name in other.keys:
            if _meet(key.split("."), name.split(".")):
                return name
    return None


def _meet(one: list[str], other: list[str]) -> bool:
    """Return whether one key can match two patterns, each given as its words."""
    if one[:1] == [ANY] or other[:1] == [ANY]:  # always the last word, and matches any number of words
        return True
    if not one or not other:
        return not one and not other
    return (one[0] == other[0] or ANY_CONTEXT in (one[0], other[0])) and _meet(one[1:], other[1:])


def _queue(style: str, kind: str, model: str, context_window: Optional[int], node: Optional[str]) -> str:
    segment = _segment(style, model)
    if style == "model":
        return f"llm.request.ollama.{kind}.{segment}"
    if style == NODE:
        return f"llm.request.ollama.node.{_node_segment(node)}.{kind}.{segment}"
    if not segment:
        raise InvalidLaneError(
            f"The model name {model!r} has no letter or digit for a lane name of style {style}", name=model
        )
    if style == "shared":
        return f"llm.fleet.{kind}.{segment}" + (f".ctx{context_window}" if context_window else "")
    return f"llm.fleet.offering.{_node_segment(node)}.{segment}.{kind}"


def _node_segment(node: Optional[str]) -> str:
    node_slug = slug(node or "")
    # 64 is LegionIO's own limit for this part of the name.
    if not 0 < len(node_slug) <= 64:
        raise InvalidLaneError(
            f"The node name {node!r} cannot be part of a lane: its slug {node_slug!r} has {len(node_slug)} characters",
            remedy="Set a node name of 1 to 64 letters, digits and hyphens",
        )
    return node_slug


def _segment(style: str, model: str) -> str:
    return model.replace(":", ".") if style in _BY_TYPE else slug(model)


def slug(text: str) -> str:
    """Return lower case, with one hyphen for each run of characters outside ``[a-z0-9]``, and none at the ends."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
