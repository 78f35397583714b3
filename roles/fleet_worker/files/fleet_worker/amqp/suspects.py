# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers for which the broker may have ended the connection, and the one that it ended several for.

A broker that ends a connection does not say which message it did not like. Every answer that was unconfirmed then is a
suspect, and goes alone from then on. A suspect that is confirmed is cleared. A suspect that costs another connection is
given up: its request would come again for ever, and cost the work of everybody else each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

from .._fleet.direct_reply import reply_node
from .._fleet.messages import Reply

#: Connections that an answer may cost. The first one may have been another answer's fault.
CONNECTIONS = 2

#: Suspects that are remembered; the oldest one is forgotten first.
MEMORY = 1000


class Suspects:
    """Counts the connections that ended while an answer was unconfirmed. For one thread."""

    def __init__(self) -> None:
        self._costs: OrderedDict[Hashable, int] = OrderedDict()

    def accuse(self, replies: Iterable[Reply]) -> None:
        """The broker has ended the connection while these were unconfirmed."""
        for key in {_key(reply) for reply in replies}:
            self._costs[key] = self._costs.pop(key, 0) + 1
            if len(self._costs) > MEMORY:
                self._costs.popitem(last=False)

    def clear(self, reply: Reply) -> None:
        """The broker has taken an answer."""
        if self._costs:
            self._costs.pop(_key(reply), None)

    def is_suspect(self, reply: Reply) -> bool:
        """Whether an answer must go alone."""
        return bool(self._costs) and _key(reply) in self._costs

    def is_guilty(self, reply: Reply) -> bool:
        """Whether an answer is given up."""
        return bool(self._costs) and self._costs.get(_key(reply), 0) >= CONNECTIONS


def _key(reply: Reply) -> Hashable:
    """Return what an answer has in common with the answer to the same request when that comes again.

    What a direct reply queue can do to the broker depends on the node that its name stands for, and on nothing else.
    """
    return reply_node(reply.routing_key) or (
        reply.exchange,
        reply.routing_key,
        reply.message.properties.correlation_id,
    )
