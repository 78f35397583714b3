# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of publishing an answer, and the callback for it."""

from __future__ import annotations

import enum
from typing import Callable


class Publication(enum.Enum):
    """The result of publishing an answer."""

    CONFIRMED = "confirmed"
    #: No queue has the name, so the requester is gone.
    RETURNED = "returned"
    #: The reply queue is full. The broker may accept the answer later.
    REFUSED = "refused"
    #: No broker accepts the answer, or ours closes the channel or the connection because of it.
    UNACCEPTABLE = "unacceptable"
    #: The connection is lost, so it is unknown whether the broker has the answer.
    LOST = "lost"


Done = Callable[[Publication], None]
