# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The control queue of a node, through which a requester cancels a request.

The queue is exclusive, so it exists as long as its worker's connection. A requester does not know which node has its
request, and the request may still wait in its lane. So the requester sends the cancellation to every node that may have
the request. A node without the request remembers the id for some time, and then does not start the request.
"""

from __future__ import annotations

from typing import Optional

from .lanes import slug
from .messages import APP_ID, Message, Properties, Reply, property_text

CANCEL = "legionio.carried.cancel"

_PREFIX = "legionio.control."
#: The most characters of a node's name in the name of its queue, which has at most 255 bytes.
_LONGEST = 200


def control_queue_of(node: str) -> str:
    """Return the name of a node's control queue."""
    return f"{_PREFIX}{slug(node)[:_LONGEST] or 'node'}"


def cancellation(node: str, correlation_id: str) -> Reply:
    """Return the message that cancels a request, and its destination."""
    properties = Properties(delivery_mode=1, type=CANCEL, correlation_id=correlation_id, app_id=APP_ID)
    return Reply("", control_queue_of(node), Message(properties, {}, b""))


def cancelled_id(message: Message) -> Optional[str]:
    """Return the correlation id of the request that a message cancels; None for any other message."""
    if message.properties.type != CANCEL:
        return None
    return property_text(message.properties.correlation_id) or None
