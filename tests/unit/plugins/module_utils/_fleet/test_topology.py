# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker has to have, typed out from the protocol."""

from __future__ import annotations

import re

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker import BrokerSettings, channel_error
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    BrokerForbiddenError,
    LaneMismatchError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.topology import (
    declare_error,
    definitions,
    worker_permissions,
)


def test_exchanges_and_the_dead_letter_queue() -> None:
    common = {"vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    assert definitions("/") == {
        "exchanges": [
            {**common, "name": "llm.request", "type": "topic", "internal": False},
            {**common, "name": "llm.fleet", "type": "topic", "internal": False},
            {**common, "name": "llm.registry", "type": "topic", "internal": False},
            {**common, "name": "lex.ollama", "type": "topic", "internal": False},
            {**common, "name": "ollama.dlx", "type": "fanout", "internal": False},
        ],
        "queues": [{**common, "name": "ollama.dlx.queue", "type": "classic"}],
        "bindings": [
            {
                "source": "ollama.dlx",
                "vhost": "/",
                "destination": "ollama.dlx.queue",
                "destination_type": "queue",
                "routing_key": "#",
                "arguments": {},
            }
        ],
    }


def test_a_worker_needs_no_more_than_its_lanes() -> None:
    rights = worker_permissions([lane("chat", "a.b"), lane("embed", "c")], ["llm.request"], "gpu-01")
    allowed = {
        "configure": {"llm.request.ollama.chat.a.b", "llm.request.ollama.embed.c", "legionio.control.gpu-01"},
        "write": {
            "amq.default",
            "ollama.dlx",
            "llm.registry",
            "llm.request.ollama.chat.a.b",
            "llm.request.ollama.embed.c",
        },
        "read": {
            "llm.request",
            "llm.request.ollama.chat.a.b",
            "llm.request.ollama.embed.c",
            "legionio.control.gpu-01",
        },
    }
    others = {"llm.request.ollama.chat.aXb", "llm.request.ollama.chat.a.b.c", "x.llm.request", "llm.fleet", "orders"}
    for right, pattern in rights.items():
        names = set().union(*allowed.values()) | others
        assert {name for name in names if re.search(pattern, name)} == allowed[right]


def test_a_queue_with_other_arguments_is_named_with_both_sides() -> None:
    text = (
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'llm.fleet.inference.a' in vhost '/':"
        " received '120000' but current is '60000'"
    )
    settings = BrokerSettings(())
    error = declare_error(406, text, lane("chat", "a", style="shared"), channel_error(406, text, settings))
    assert isinstance(error, LaneMismatchError)
    message = str(error)
    assert "llm.fleet.inference.a" in message
    assert '"x-message-ttl": 120000' in message and '"x-delivery-limit": 3' in message
    assert "current is '60000'" in message


@pytest.mark.parametrize("text", ["ACCESS_REFUSED - configure access to queue 'x' refused"])
def test_any_other_refusal_names_the_lane(text: str) -> None:
    error = declare_error(403, text, lane("chat", "a"), channel_error(403, text, BrokerSettings(())))
    assert isinstance(error, BrokerForbiddenError)
    assert error.message.startswith("The lane llm.request.ollama.chat.a cannot be used: ")
