# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Requests whose body alone identifies them."""

from __future__ import annotations

from ...encrypted_bodies import is_encrypted
from ...json_size import MAX_VALUES
from ...messages import Message, decode

#: A text that each such body contains. Searching for it takes less time than parsing the body.
_MARK = b'"protocol_version"'

#: The types of such requests. A copy that LegionIO has put into the queue again has no type.
_TYPES = ("llm.fleet.request", None)


def identifies_itself(message: Message) -> bool:
    """Return whether the body has the version, the ids and the reply queue that protocol versions 2 and 3 need.

    Then two messages with the same body are one request, even if their properties differ. The same holds for two
    messages with the same encrypted body, because each encryption has a new nonce.
    """
    if message.properties.type not in _TYPES:
        return False
    if is_encrypted(message):
        return True
    if _MARK not in message.body:
        return False
    document, problem = decode(message, len(message.body), max_values=MAX_VALUES)
    needed = ("protocol_version", "request_id", "correlation_id", "idempotency_key", "reply_to")
    return problem is None and all(document.get(name) is not None for name in needed)
