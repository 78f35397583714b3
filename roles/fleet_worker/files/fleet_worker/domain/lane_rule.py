# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scheduler knows of a lane, and the times that others must know too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: Seconds for which a request waits to be alone with its model, and then for which it is: what ends the process that
#: runs a model does so soon, and others wait meanwhile.
ALONE = 15.0

#: Seconds after which a lane is looked at, and a held request started, out of turn.
STARVATION = 10.0


@dataclass(frozen=True)
class LaneRule:
    """What the policy knows of a lane.

    :ivar model: requests of one model run best after each other.
    :ivar priority: higher goes first.
    :ivar expires: seconds after which the broker deletes the queue when nobody has asked for a request.
    :ivar batch: requests that may start as one.
    :ivar limit: slots that the lanes of this model may take together; None for all.
    """

    queue: str
    model: str
    priority: int = 0
    expires: Optional[float] = None
    batch: int = 1
    limit: Optional[int] = None
