# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a worker answers."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.trust import REPLY_QUEUES, refusal

#: A name that RabbitMQ 3.10.8 has made.
DIRECT = "amq.rabbitmq.reply-to.g1h2AA1yZXBseUA5MjQ4ODg0AAADIgAAAABrCqep.UOVzIlU0e0LHRLKcQA3huw=="


@pytest.mark.parametrize(
    "reply_to",
    ["llm.fleet.reply.0123456789abcdef", "amq.gen-JzTY20BRgKO", DIRECT],
)
def test_reply_queues_are_answered_to(reply_to: str) -> None:
    assert refusal(reply_to, REPLY_QUEUES) is None


@pytest.mark.parametrize(
    "reply_to", ["orders", "llm.fleet.replyX", "LLM.FLEET.REPLY.a", "ollama.dlx.queue", "x llm.fleet.reply.a"]
)
def test_other_queues_are_not(reply_to: str) -> None:
    assert "none of the allowed patterns" in (refusal(reply_to, REPLY_QUEUES) or "")


@pytest.mark.parametrize(
    "reply_to",
    ["llm.fleet.reply.a\n", "llm.fleet.reply.\x1b[2J", "llm.fleet.reply.\u202e", "llm.fleet.reply.\udcff", "x\0"],
)
def test_names_with_control_characters_are_not_answered_to_whatever_is_allowed(reply_to: str) -> None:
    assert refusal(reply_to, ("*",)) == "no queue of a requester has such a name"


def test_a_name_of_more_than_255_bytes_is_not_answered_to() -> None:
    assert refusal("\u20ac" * 86, ("*",)) == "no queue of a requester has such a name"


def test_a_direct_reply_queue_is_believed_in_the_property_alone() -> None:
    assert "not written by the broker" in (refusal(DIRECT, REPLY_QUEUES, from_property=False) or "")


@pytest.mark.parametrize(
    "reply_to",
    [
        "amq.rabbitmq.reply-to",
        "amq.rabbitmq.reply-to.",
        "amq.rabbitmq.reply-toX",
        "amq.rabbitmq.reply-to.!!!!",
        "amq.rabbitmq.reply-to.AAAA",
        "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA",
        DIRECT + "=",
        DIRECT + "." + DIRECT[-24:],
        DIRECT[:-24] + "AAAA",
        DIRECT[:-25],
        DIRECT.replace("g1h2", "g2h2"),  # another kind of term
        DIRECT.replace("AA1y", "AA5y"),  # an atom that is longer than it is
        DIRECT.replace("yZXBseUA5", "yZXBseS45"),  # a process of a node without a number
        DIRECT.replace("qep.", "qe."),  # not Base64
    ],
)
def test_a_direct_reply_queue_that_no_broker_has_named_is_not_answered_to(reply_to: str) -> None:
    assert refusal(reply_to, ("*",)) is not None


@pytest.mark.parametrize(
    "reply_to",
    ["llm.request.ollama.chat.a", "llm.fleet.inference.a", "llm.fleet.embed.a", "llm.fleet.offering.n.a.embed"],
)
def test_lanes_are_never_answered_to_whatever_is_allowed(reply_to: str) -> None:
    assert refusal(reply_to, ("*",)) == "it is a lane"
