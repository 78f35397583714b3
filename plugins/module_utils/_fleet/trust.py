# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The queues that a worker replies to, and the messages that it never answers.

A request names its reply queue. Without a list of allowed reply queues, anybody who may write to a lane could make a
worker write into any queue within its rights, or make two workers answer each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Optional

from .direct_reply import is_direct, reply_node
from .messages import MAX_SHORT_STRING

#: Reply queues of LegionIO's requesters, of requesters whose broker names their queue, and direct reply-to.
REPLY_QUEUES = ("llm.fleet.reply.*", "amq.gen-*", "amq.rabbitmq.reply-to.*")

#: Prefixes of the lanes of all workers.
_LANES = ("llm.request.", "llm.fleet.embed.", "llm.fleet.inference.", "llm.fleet.offering.")

#: Types of answers. Two workers that answered answers could do so for ever.
ANSWER_TYPES = frozenset(
    {
        *("llm.fleet.response", "llm.fleet.error", "llm.fleet.delta"),
        *("legionio.carried.answer", "legionio.carried.error", "legionio.carried.piece"),
    }
)


def refusal(reply_to: str, allowed: Iterable[str], *, from_property: bool = True) -> Optional[str]:
    """Return why a queue is not allowed as reply queue; None when it is allowed.

    :param allowed: patterns as for file names, such as :data:`REPLY_QUEUES`. No pattern allows control characters.
    :param from_property: whether the broker has seen the name, because it stands in the property ``reply_to``.
    """
    if not reply_to.isprintable() or len(reply_to.encode()) > MAX_SHORT_STRING:
        return "no queue of a requester has such a name"
    if is_direct(reply_to) and not (from_property and reply_node(reply_to)):
        return "it names a direct reply queue, and was not written by the broker"
    if reply_to.startswith(_LANES):
        return "it is a lane"
    if not any(fnmatchcase(reply_to, pattern) for pattern in allowed):
        return "it matches none of the allowed patterns (reply_queues)"
    return None
