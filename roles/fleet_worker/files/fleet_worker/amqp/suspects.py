# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The suspects: answers that may have made the broker close the connection.

A broker that closes a connection does not name the message that is the reason. So every answer that was unconfirmed
then is a suspect, and is sent alone from then on. A confirm clears a suspect. If the broker closes another connection,
the worker drops the suspect: its request would return for ever, and would disturb all other requests each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

from .._fleet.messages import Reply

#: The most connections that may end with an unconfirmed answer. Another answer may be the reason for the first end.
CONNECTIONS = 2

#: The most remembered suspects; the oldest is forgotten first.
MEMORY = 1000


class Suspects:
    """Counts the connections that ended while an answer was unconfirmed. For one thread."""

    def __init__(self) -> None:
        self._costs: OrderedDict[Hashable, int] = OrderedDict()

    def accuse(self, replies: Iterable[Reply]) -> None:
        """Note the unconfirmed answers of a connection that the broker has closed."""
        for key in {_key(reply) for reply in replies}:
            self._costs[key] = self._costs.pop(key, 0) + 1
            if len(self._costs) > MEMORY:
                self._costs.popitem(last=False)

    def clear(self, reply: Reply) -> None:
        """Note a confirmed answer."""
        if self._costs:
            self._costs.pop(_key(reply), None)

    def is_suspect(self, reply: Reply) -> bool:
        """Return whether an answer must be sent alone."""
        return bool(self._costs) and _key(reply) in self._costs

    def is_guilty(self, reply: Reply) -> bool:
        """Return whether the worker must drop an answer."""
        return bool(self._costs) and self._costs.get(_key(reply), 0) >= CONNECTIONS


def _key(reply: Reply) -> Hashable:
    """Return a key that the answers to all deliveries of a request share."""
    return (reply.exchange, reply.routing_key, reply.message.properties.correlation_id)
