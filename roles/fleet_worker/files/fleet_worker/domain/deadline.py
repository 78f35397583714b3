# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deadline of a request: the time when its requester stops waiting for the answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional

from .._fleet.dialects.headers import DEADLINE
from .._fleet.messages import Message
from .._ollama.numbers import digits, finite

#: The most seconds by which the clocks of two machines may differ. Beyond that, a timestamp does not count.
PLAUSIBLE_SKEW = 5.0

#: The most believed seconds in a queue, a week. A longer wait means another clock, or another unit.
LONGEST_WAIT = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Arrival:
    """The time of a delivery by two clocks.

    :ivar wall: seconds since 1970.
    :ivar monotonic: seconds of the monotonic clock.
    """

    wall: float
    monotonic: float


def seconds_in_queue(message: Message, arrival: Arrival) -> Optional[float]:
    """Return the seconds in the queue; None if the message has no plausible timestamp.

    The clocks of two machines measure this time, and one of them counts whole seconds.
    """
    age = _age(message, arrival)
    return None if age is None or not -PLAUSIBLE_SKEW <= age <= LONGEST_WAIT else max(0.0, age)


def seconds_left(message: Message, arrival: Arrival, limit: float) -> float:
    """Return the seconds until the deadline; negative after it.

    :param limit: the most seconds of a request in this lane; an earlier deadline of the requester wins.
    """
    own = limit - (time.monotonic() - arrival.monotonic)
    expiry = _expiry(message, arrival)
    return own if expiry is None else min(own, expiry - time.monotonic())


def _expiry(message: Message, arrival: Arrival) -> Optional[float]:
    """Return the time when the requester stops waiting, on the monotonic clock."""
    stated = finite(message.headers.get(DEADLINE))
    if stated is not None:
        return arrival.monotonic + stated / 1000 - arrival.wall
    milliseconds = digits(message.properties.expiration)
    if milliseconds is None:
        return None
    seconds, age = milliseconds / 1000, _age(message, arrival)
    # The broker drops expired requests in the queue. So if a request seems older than its expiration, or seems to come
    # from the future, the clock of its machine differs, and the whole expiration counts.
    if age is None or not -PLAUSIBLE_SKEW <= age <= seconds + PLAUSIBLE_SKEW:
        age = 0.0
    return arrival.monotonic + seconds - max(0.0, age)


def _age(message: Message, arrival: Arrival) -> Optional[float]:
    """Return the seconds since the requester sent a message, by two clocks; None without a timestamp."""
    timestamp = finite(message.properties.timestamp)
    return None if timestamp is None else arrival.wall - timestamp
