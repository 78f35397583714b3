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

#: The outcomes of answered requests: the first time, and from the result cache.
ANSWERED = "answered"
ANSWERED_AGAIN = "answered_again"

#: The log fields about the work of Ollama.
_WORK = ("seconds", "input_tokens", "output_tokens")


class Verdict(enum.Enum):
    """The settlement of a delivery, after the confirm of its reply (if any)."""

    ACK = "ack"
    #: Remove from the queue, into the dead-letter exchange if the queue has one.
    REJECT = "reject"
    #: Return to the queue, for another node or for later.
    REQUEUE = "requeue"


@dataclass(frozen=True)
class Result:
    """The result of a request.

    :ivar outcome: one word for counters and the log: ``answered``, an error code, or the reason for no answer.
    """

    verdict: Verdict
    outcome: str
    reply: Optional[Reply] = None
    fields: dict[str, Any] = field(default_factory=dict)
    #: The reason why Ollama could not run the model; empty for other results.
    broken: str = ""
    #: Whether a redelivery may get the same reply. False after pieces, because the reply lacks most of the answer.
    repeatable: bool = True

    @property
    def is_answer(self) -> bool:
        """Whether the request was answered without an error."""
        return self.outcome in (ANSWERED, ANSWERED_AGAIN)

    def again(self) -> Result:
        """Return the result of a request that gets this answer again, without any work of Ollama."""
        fields = {name: value for name, value in self.fields.items() if name not in _WORK}
        return replace(self, outcome=ANSWERED_AGAIN, fields=fields)


def marked(reply: Reply, count: int) -> Reply:
    """Mark the reply to a redelivery, because the same request may have been answered before.

    :param count: the number of earlier deliveries of the request.
    """
    if not count:
        return reply
    headers = {**reply.message.headers, REDELIVERED: count}
    return replace(reply, message=replace(reply.message, headers=headers))
