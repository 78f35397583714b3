# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the publishing of an answer ended, and the callback that receives it."""

from __future__ import annotations

import enum
from typing import Callable


class Publication(enum.Enum):
    """What became of an answer."""

    CONFIRMED = "confirmed"
    #: No queue of that name: the requester is gone.
    RETURNED = "returned"
    #: The broker does not take it, and may take it later: the queue is full.
    REFUSED = "refused"
    #: No broker takes it, or ours ends the channel or the connection for it.
    UNACCEPTABLE = "unacceptable"
    #: The connection is gone; whether the broker has it is not known.
    LOST = "lost"


Done = Callable[[Publication], None]
