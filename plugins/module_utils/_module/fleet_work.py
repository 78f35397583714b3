# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What the modules of the action group ``fleet`` do: they talk to workers through the broker."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._fleet.arrivals import StreamSummary
from .._fleet.broker import TLS_PORT, Address, BrokerSettings, BrokerTlsSettings
from .._fleet.dialects import dialect_named
from .._fleet.errors import InvalidBrokerError, InvalidQuestionError, NoFleetQueueError
from .._fleet.lanes import STYLES, TYPES, Lane, lane
from .._fleet.messages import Question
from .._fleet.requester import Requester, RoundTrip
from .argspec import ArgumentSpec

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
        "model": {"type": "str", "required": True},
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


def broker_settings(params: Mapping[str, Any]) -> BrokerSettings:
    """Return the settings of the broker that a module was given.

    :raises InvalidBrokerError: when the address cannot be read.
    """
    tls = BrokerTlsSettings(
        validate=params["broker_validate_certs"],
        ca_path=params["broker_ca_path"],
        client_cert=params["broker_client_cert"],
        client_key=params["broker_client_key"],
    )
    if params["broker_url"]:
        return BrokerSettings.from_url(params["broker_url"], tls)
    port = params["broker_port"]
    encrypted = bool(port == TLS_PORT or tls.ca_path or tls.client_cert)
    addresses = tuple(_address(host, port, encrypted) for host in params["broker_host"])
    if not addresses:
        raise InvalidBrokerError("No broker is given", remedy="Set broker_host to at least one host")
    credentials: dict[str, Any] = {}
    if params["broker_username"]:
        credentials = {"username": params["broker_username"], "password": params["broker_password"]}
    elif tls.client_cert:
        credentials = {"username": None}
    return BrokerSettings(addresses, vhost=params["broker_vhost"] or "/", tls=tls if encrypted else None, **credentials)


def _address(host: str, port: Optional[int], encrypted: bool) -> Address:
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return Address.parse(f"{host}:{port}" if port else host, tls=encrypted)


def request(module: AnsibleModule) -> dict[str, Any]:
    """Ask one question; in check mode, only look whether there is somebody to ask."""
    params = module.params
    entry = lane(
        params["type"],
        params["model"],
        style=params["style"],
        context_window=params["context_window"],
        node=params["node"],
    )
    if params["timeout"] <= 0:
        raise InvalidQuestionError(
            f"The timeout is {params['timeout']:g}", remedy="Give the seconds that an answer may take, more than 0"
        )
    question = Question(params["type"], params["model"], _arguments(params), params["timeout"], stream=params["stream"])
    found = {"changed": False, "lane": entry.queue, "exchange": params["exchange"]}
    with Requester(broker_settings(params), direct=params["reply_queue"] == "direct") as requester:
        if module.check_mode:
            return {**found, "queue": _queue(requester, entry)}
        answered = requester.ask(
            question,
            dialect_named(params["dialect"]),
            exchange=params["exchange"],
            routing_key=entry.queue,
            seconds=params["timeout"],
        )
    return {**found, **_described(answered)}


def _arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: params[name] for name in _ARGUMENTS if params[name] is not None}
    if params["images"]:
        images = [_image(path) for path in params["images"]]
        if params["type"] == "chat":
            *earlier, last = arguments["messages"]
            arguments["messages"] = [*earlier, {**last, "images": [*last.get("images", []), *images]}]
        else:
            arguments["images"] = images
    return arguments


def _image(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode("ascii")
    except OSError as error:
        raise InvalidQuestionError(
            f"The image {path} cannot be read: {error.strerror}",
            remedy="Give the path of a file on the host that the module runs on",
            path=path,
        ) from error


def _queue(requester: Requester, entry: Lane) -> dict[str, int]:
    state = requester.queue_state(entry.queue)
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
