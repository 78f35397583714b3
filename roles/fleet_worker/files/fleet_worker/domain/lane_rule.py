# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a lane that the scheduler knows, and times that other packages must know, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: The most seconds for which a request waits to run alone, and then runs alone. A request that ends the runner of its
#: model does so soon, and other requests wait meanwhile.
ALONE = 15.0

#: The default seconds of waiting after which a lane or a held request is next in turn.
STARVATION = 10.0


@dataclass(frozen=True)
class LaneRule:
    """The part of a lane that the policy knows.

    :ivar model: the loaded model; requests for one model should run one after the other.
    :ivar priority: higher is first.
    :ivar expires: the seconds without a get or a consumer after which the broker deletes the queue.
    :ivar batch: the most requests of one batch.
    :ivar limit: the most slots of all lanes of the model together; None for all slots.
    :ivar consumer_priority: the priority among the consumers of the queue; None for the broker's default.
    """

    queue: str
    model: str
    priority: int = 0
    expires: Optional[float] = None
    batch: int = 1
    limit: Optional[int] = None
    consumer_priority: Optional[int] = None

    @property
    def of_consumers(self) -> tuple[Optional[int], ...]:
        """The part of the rule that decides about priority and prefetch, which a running consumer keeps."""
        return (self.consumer_priority, self.limit, self.batch)
