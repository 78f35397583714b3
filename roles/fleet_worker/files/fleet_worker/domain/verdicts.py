# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a request: its verdict, its reply and its log fields."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from .._fleet.dialects.headers import REDELIVERED
from .._fleet.messages import Reply


class Verdict(enum.Enum):
    """What is done with a delivery, after its reply (if any) is confirmed."""

    ACK = "ack"
    #: Out of the queue, and to the dead-letter exchange where the queue has one.
    REJECT = "reject"
    #: Back to the queue, for another node or for later.
    REQUEUE = "requeue"


@dataclass(frozen=True)
class Result:
    """What became of a request.

    :ivar outcome: one word for counters and the log: ``answered``, a code of an error, or why there is no answer.
    """

    verdict: Verdict
    outcome: str
    reply: Optional[Reply] = None
    fields: dict[str, Any] = field(default_factory=dict)
    #: Why Ollama could not run the model, if that is what happened.
    broken: str = ""
    #: Whether a redelivery of the request is answered with the same: not when most of the answer went out before.
    repeatable: bool = True


def marked(reply: Reply, count: int) -> Reply:
    """Mark the reply to a redelivery: the same request may have been answered before.

    :param count: how often the request was given out before this time.
    """
    if not count:
        return reply
    headers = {**reply.message.headers, REDELIVERED: count}
    return replace(reply, message=replace(reply.message, headers=headers))
