# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a worker answers."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.trust import REPLY_QUEUES, refusal


@pytest.mark.parametrize(
    "reply_to",
    ["llm.fleet.reply.0123456789abcdef", "amq.gen-JzTY20BRgKO", "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA"],
)
def test_reply_queues_are_answered_to(reply_to: str) -> None:
    assert refusal(reply_to, REPLY_QUEUES) is None


@pytest.mark.parametrize(
    "reply_to", ["orders", "llm.fleet.replyX", "LLM.FLEET.REPLY.a", "ollama.dlx.queue", "x\nllm.fleet.reply.a"]
)
def test_other_queues_are_not(reply_to: str) -> None:
    assert "none of the allowed patterns" in (refusal(reply_to, REPLY_QUEUES) or "")


@pytest.mark.parametrize(
    "reply_to",
    ["llm.request.ollama.chat.a", "llm.fleet.inference.a", "llm.fleet.embed.a", "llm.fleet.offering.n.a.embed"],
)
def test_lanes_are_never_answered_to_whatever_is_allowed(reply_to: str) -> None:
    assert refusal(reply_to, ("*",)) == "it is a lane"
