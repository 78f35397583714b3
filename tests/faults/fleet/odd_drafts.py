# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message that oddities change, and the expected outcomes at its receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Callable, Optional

from .amqp_frames import WireMessage, table
from .odd_json import written

#: Bytes of headers that fit into a frame, with all other properties.
MAX_HEADERS = 120_000


@dataclass
class Draft:
    """A request under construction.

    :ivar fields: of the body, each as JSON; without use when there is another ``body``.
    :ivar answered: whether its receiver owes it an answer.
    :ivar served: whether that is the answer to an honest message: nothing that decides about it is odd.
    :ivar forbidden: whether its receiver must not carry it out.
    :ivar refusable: whether the broker itself may refuse it.
    :ivar expires: whether the broker may drop it before anybody sees it.
    :ivar copies: how often it is sent.
    """

    properties: dict[str, bytes]
    headers: list[tuple[bytes, bytes]]
    fields: dict[str, bytes]
    body: Optional[bytes] = None
    answered: bool = True
    served: bool = True
    forbidden: bool = False
    refusable: bool = False
    expires: bool = False
    forged_deaths: bool = False
    copies: int = 1
    oddities: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OddMessage:
    """A message to send.

    :ivar oddities: names of what is odd about it.
    :ivar answered: whether its receiver owes it an answer in the reply queue that it was given.
    :ivar served: whether that is the answer to an honest message.
    :ivar forbidden: whether its receiver must not carry it out.
    """

    oddities: tuple[str, ...]
    wire: WireMessage
    answered: bool
    served: bool
    refusable: bool
    forbidden: bool = False
    copies: int = 1

    def __str__(self) -> str:
        shown = {name: value[:80] for name, value in self.wire.properties.items()}
        return f"{'+'.join(self.oddities)} to {self.wire.routing_key}: {shown} body {self.wire.body[:200]!r}"


Oddity = Callable[[Random, Draft], None]

#: How often an oddity is chosen, and what it does.
Oddities = Mapping[str, tuple[int, Oddity]]


def harmless(oddity: Oddity) -> Oddity:
    """Mark an oddity that does not change the answer."""
    HARMLESS.add(oddity)
    return oddity


HARMLESS: set[Oddity] = set()


def changed(random: Random, draft: Draft, oddities: Oddities) -> Draft:
    """Return a draft after one to three oddities."""
    for name in random.choices(list(oddities), [weight for weight, _change in oddities.values()], k=_ways(random)):
        draft.oddities.append(name)
        draft.served &= oddities[name][1] in HARMLESS
        oddities[name][1](random, draft)
    return draft


def _ways(random: Random) -> int:
    return random.choice((1, 1, 2, 3))


def finished(draft: Draft, exchange: str, routing_key: str) -> OddMessage:
    properties = dict(draft.properties)
    if draft.forged_deaths and draft.expires:
        # RabbitMQ 3.10 ends the queue when it dead-letters forged deaths by itself; no worker can help it.
        del properties["expiration"]
        draft.expires = False
    while len(table(draft.headers)) > MAX_HEADERS:
        draft.headers.pop()
    if draft.headers:
        properties["headers"] = table(draft.headers)
    return OddMessage(
        oddities=tuple(draft.oddities) or ("honest",),
        wire=WireMessage(
            exchange, routing_key, properties, written(draft.fields) if draft.body is None else draft.body
        ),
        answered=draft.answered and not draft.expires,
        served=draft.answered and draft.served and not draft.expires,
        refusable=draft.refusable,
        forbidden=draft.forbidden,
        copies=draft.copies,
    )
