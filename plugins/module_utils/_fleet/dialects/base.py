# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The interface of the dialects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..direct_reply import DIRECT_REPLY_TO
from ..lanes import Lane
from ..messages import Answer, Delta, Message, Outcome, Properties, Question, Reply, Request

Headers = Mapping[str, Any]
Document = Mapping[str, Any]


@dataclass(frozen=True)
class ReplyIdentity:
    """The identity of a worker in its answers.

    :ivar legacy_exchange: the exchange for answers in the dialect 0.3.1; None for the default exchange.
    """

    node: str
    legacy_exchange: Optional[str] = None


@dataclass(frozen=True)
class Dialect:
    """A message format.

    :ivar recognises: returns whether a request is in this dialect, by its properties, headers and body (empty when
        unreadable).
    :ivar read: turns a message from a lane into a request. It never raises: a request that must not be served has a
        failure, which becomes the reply to the requester.
    :ivar write: writes the answer to a request that has a reply queue.
    :ivar ask: writes the message of a question; the parameters are the question, its correlation id and the reply
        queue. None for a dialect that is only served.
    :ivar understand: turns a reply into an answer.
    :ivar write_delta: writes a delta for a requester that wants them. None for a dialect without deltas, whose requests
        never have ``stream``.
    :ivar understand_delta: turns a message into a delta; returns None for an answer.
    :ivar numbered: whether its requests state a version of the protocol, name an instance and have a token.
    """

    name: str
    recognises: Callable[[Properties, Headers, Document], bool]
    read: Callable[[Message, Document, Lane], Request]
    write: Callable[[Request, Outcome, ReplyIdentity], Reply]
    ask: Optional[Callable[[Question, str, str], Message]] = None
    understand: Optional[Callable[[Message], Answer]] = None
    write_delta: Optional[Callable[[Request, Delta, ReplyIdentity], Reply]] = None
    understand_delta: Optional[Callable[[Message], Optional[Delta]]] = None
    numbered: bool = False


def reply_fields(reply_to: str) -> dict[str, str]:
    """Return the fields of a request's body that name the reply queue.

    With direct reply-to there are none: the broker puts the real name into the property, but not into the body.
    """
    return {} if reply_to == DIRECT_REPLY_TO else {"reply_to": reply_to}
