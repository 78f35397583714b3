# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of fleet_request: one question to a worker, through the broker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._fleet.arrivals import StreamSummary
from .._fleet.broker_connection import BrokerConnection
from .._fleet.dialects import dialect_named
from .._fleet.dialects.base import Dialect
from .._fleet.dialects.protocol.questions import RequesterSettings, requester_dialect
from .._fleet.encrypted_bodies import BodyCipher
from .._fleet.errors import InvalidQuestionError, NoFleetQueueError
from .._fleet.lanes import STYLES, TYPES, Lane, lane
from .._fleet.messages import Question
from .._fleet.requester import Requester, RoundTrip
from .._fleet.tokens import AUDIENCE, ISSUER, TokenSettings
from .argspec import ArgumentSpec
from .broker_options import broker_settings
from .images import encoded_image

#: Options that become part of the request under their own names, as Ollama's API has them.
_ARGUMENTS = (
    "messages",
    "tools",
    "prompt",
    "system",
    "input",
    "format",
    "options",
    "keep_alive",
    "think",
    "truncate",
    "dimensions",
)

REQUEST = ArgumentSpec(
    {
        "type": {"type": "str", "required": True, "choices": list(TYPES)},
        "model": {"type": "str", "required": True, "aliases": ["name"]},
        "messages": {"type": "list", "elements": "dict"},
        "prompt": {"type": "str"},
        "input": {"type": "list", "elements": "str"},
        "system": {"type": "str"},
        "images": {"type": "list", "elements": "path"},
        "tools": {"type": "list", "elements": "dict"},
        "format": {"type": "raw"},
        "options": {"type": "dict"},
        "keep_alive": {"type": "str"},
        "think": {"type": "raw"},
        "truncate": {"type": "bool"},
        "dimensions": {"type": "int"},
        "style": {"type": "str", "choices": list(STYLES), "default": "model"},
        "context_window": {"type": "int"},
        "node": {"type": "str"},
        "exchange": {"type": "str", "default": "llm.request"},
        "dialect": {"type": "str", "choices": ["typed", "0.3.1"], "default": "typed"},
        "protocol": {"type": "int", "choices": [2, 3]},
        "provider_instance": {"type": "str", "default": "default"},
        "cluster_secret": {"type": "str", "no_log": True},
        "token_issuer": {"type": "str", "default": ISSUER, "no_log": False},
        "token_audience": {"type": "str", "default": AUDIENCE, "no_log": False},
        "encrypt": {"type": "bool", "default": False},
        "reply_queue": {"type": "str", "choices": ["own", "direct"], "default": "own"},
        "stream": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 300.0},
    },
    required_if=[
        ("type", "chat", ["messages"]),
        ("type", "generate", ["prompt"]),
        ("type", "embed", ["input"]),
        ("style", "offering", ["node"]),
    ],
)


def request(module: AnsibleModule) -> dict[str, Any]:
    """Ask one question; in check mode, only check whether a worker consumes the lane."""
    params = module.params
    entry = lane(
        params["type"],
        params["model"],
        style=params["style"],
        context_window=params["context_window"],
        node=params["node"],
    )
    if not 0 < params["timeout"] < math.inf:
        raise InvalidQuestionError(
            f"The timeout is {params['timeout']:g}", remedy="Give the seconds that an answer may take, more than 0"
        )
    question = Question(params["type"], params["model"], _arguments(params), params["timeout"], stream=params["stream"])
    dialect = _dialect(params)
    found = {"changed": False, "lane": entry.queue, "exchange": params["exchange"]}
    with BrokerConnection(broker_settings(params)) as connection:
        if module.check_mode:
            return {**found, "queue": _queue(connection, entry)}
        answered = Requester(connection, direct=params["reply_queue"] == "direct").ask(
            question,
            dialect,
            exchange=params["exchange"],
            routing_key=entry.queue,
            seconds=params["timeout"],
        )
    return {**found, **_described(answered)}


def _dialect(params: Mapping[str, Any]) -> Dialect:
    """Return the dialect to ask in.

    :raises InvalidQuestionError: if ``encrypt`` is set without ``cluster_secret`` or ``protocol``.
    :raises MissingDependencyError: if a needed package is missing.
    """
    version, secret = params["protocol"], params["cluster_secret"]
    if params["encrypt"] and (version is None or not secret):
        raise InvalidQuestionError(
            "encrypt is set without protocol or cluster_secret", remedy="Set both of them, or set encrypt to false"
        )
    if version is None:
        return dialect_named(params["dialect"])
    tokens = TokenSettings(secret, params["token_issuer"], params["token_audience"]) if secret else None
    cipher = BodyCipher(secret) if params["encrypt"] else None
    return requester_dialect(version, RequesterSettings(params["provider_instance"], tokens, cipher))


def _arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: params[name] for name in _ARGUMENTS if params[name] is not None}
    if params["images"]:
        images = [encoded_image(path) for path in params["images"]]
        if params["type"] == "chat":
            if not arguments["messages"]:
                raise InvalidQuestionError(
                    "messages is empty, so there is no message for the images", remedy="Give at least one message"
                )
            *earlier, last = arguments["messages"]
            arguments["messages"] = [*earlier, {**last, "images": [*last.get("images", []), *images]}]
        else:
            arguments["images"] = images
    return arguments


def _queue(connection: BrokerConnection, entry: Lane) -> dict[str, int]:
    state = connection.queue_state(entry.queue)
    if state is None:
        raise NoFleetQueueError(
            f"There is no queue {entry.queue}",
            remedy="Check the model and the style of the lane, and that a worker for it is running",
            routing_key=entry.queue,
        )
    return {"messages": state.messages, "consumers": state.consumers}


def _described(answered: RoundTrip) -> dict[str, Any]:
    answer = answered.answer
    return {
        "content": answer.text,
        "message": answer.message,
        "embeddings": answer.embeddings,
        "model": answer.model,
        "node": answer.node,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        "seconds": round(answered.seconds, 4),
        "correlation_id": answered.correlation_id,
        "body": answer.body,
        **({"stream": _stream(answered.stream)} if answered.stream is not None else {}),
    }


def _stream(summary: StreamSummary) -> dict[str, Any]:
    return {
        "deltas": summary.deltas,
        "missing": summary.missing,
        "attempts": summary.attempts,
        "first_seconds": None if summary.first_seconds is None else round(summary.first_seconds, 4),
    }
