# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Direct reply-to: a reply queue that a requester need not declare.

A requester writes :data:`DIRECT_REPLY_TO` into the property ``reply_to``. The broker replaces this value by a name that
leads back to the requester's channel. The broker does not check names that it has not made: RabbitMQ 3.10 and 4.0 close
the connection of a client that publishes to a malformed name.
"""

from __future__ import annotations

import re
from typing import Optional

from .._ollama.base64_text import read_base64

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

#: A name of the broker: a process id and a key, each in Base64 (RabbitMQ 3.10 to 4.1, rabbit_direct_reply_to.erl; from
#: 4.2 on, rabbit_volatile_queue.erl).
_NAME = re.compile(re.escape(DIRECT_REPLY_TO) + r"\.([A-Za-z0-9+/]+={0,2})\.([A-Za-z0-9+/]{22}==)")

#: The process id, in the external format of Erlang terms: the version, a NEW_PID_EXT, and in it an atom with one or two
#: bytes for its length. The atom does not name a node of the cluster: the number after the @ stands for the node.
_PROCESS = re.compile(rb"\x83X(?:v\x00|w)(.)([a-z]{1,20}@[0-9]{1,10}).{12}", re.DOTALL)


def is_direct(queue: str) -> bool:
    """Return whether a name belongs to direct reply-to, made by the broker or invented."""
    return queue.startswith(DIRECT_REPLY_TO)


def reply_node(queue: str) -> Optional[str]:
    """Return the part of a name that stands for a node of the broker's cluster; None for an invented name.

    :param queue: the property ``reply_to`` of a request.
    """
    match = _NAME.fullmatch(queue)
    if match is None:
        return None
    process = _PROCESS.fullmatch(read_base64(match[1]) or b"")
    if process is None or len(process[2]) != process[1][0]:
        return None
    return process[2].decode("ascii")
