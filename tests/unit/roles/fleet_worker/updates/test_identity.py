# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which broadcasts are one."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._fleet.messages import Message, Properties
from fleet_worker.updates.admission import _identity

BODY = b'{"function": "import_from_s3", "model": "llama3:8b"}'


def message(body: bytes = BODY, headers: Any = None, **properties: Any) -> Message:
    given = {"message_id": "m", "correlation_id": "c", "reply_to": "r", **properties}
    return Message(Properties(**given), headers or {}, body)


def test_identity_redelivery_is_the_same_broadcast() -> None:
    assert _identity(message()) == _identity(message(headers={"x-delivery-count": 1, "x-death": []}))


@pytest.mark.parametrize(
    "other",
    [
        message(body=BODY.replace(b"8b", b"70b")),
        message(correlation_id="d"),
        message(reply_to="s"),
        message(message_id="n"),
        message(headers={"function": "plan_import_from_s3"}),
    ],
)
def test_identity_used_message_id_is_another_broadcast(other: Message) -> None:
    assert _identity(other) != _identity(message())


def test_identity_odd_text_is_no_error() -> None:
    assert _identity(message(message_id="\udcff", headers={"function": ["\udcff"]}))


def test_identity_without_a_message_id_is_none() -> None:
    assert _identity(message(message_id=None)) == ""
