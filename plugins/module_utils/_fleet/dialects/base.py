# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What a dialect is."""

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
    """What an answer says of the worker that gives it.

    :ivar legacy_exchange: the exchange that answers in the dialect 0.3.1 go to instead of the default exchange.
    """

    node: str
    legacy_exchange: Optional[str] = None


@dataclass(frozen=True)
class Dialect:
    """A message format.

    :ivar recognises: whether a request is of this dialect, by its properties, headers and body (empty when unreadable).
    :ivar read: makes a request of a message that came by a lane. It never raises: what must not be served has a
        failure, which becomes the reply to the requester.
    :ivar write: makes the answer to a request that has a queue to be answered to.
    :ivar ask: makes the message of a question; the parameters are the question, its correlation id and the reply queue.
        None for a dialect that is only served.
    :ivar understand: makes an answer of a reply.
    :ivar write_delta: makes a piece of the answer, for requesters that want it in pieces too. None for a dialect that
        has no such thing; it then never reads a request as one with ``stream``.
    :ivar understand_delta: makes a delta of a message; None when the message is an answer.
    :ivar numbered: whether its requests state a version of the protocol, name an instance and carry a token.
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
    """Return what the body of a request says of its reply queue.

    The broker puts the real name of a direct reply queue into the property, and cannot put it into the body.
    """
    return {} if reply_to == DIRECT_REPLY_TO else {"reply_to": reply_to}
