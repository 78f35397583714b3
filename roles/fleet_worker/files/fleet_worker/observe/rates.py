# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recent throughput for the status: sums by the second, over the last minutes. For one thread."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable

#: The seconds of the remembered past.
MEMORY = 300


@dataclass
class _Second:
    number: int
    requests: int = 0
    failures: int = 0
    tokens: int = 0
    inference: float = 0.0


class Rates:
    """Sums over finished requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds: deque[_Second] = deque(maxlen=MEMORY + 1)

    def add(self, *, answered: bool, tokens: int, inference: float) -> None:
        """Count a finished request.

        :param tokens: the number of tokens that Ollama has written.
        :param inference: the seconds of Ollama's work.
        """
        number = int(self._clock())
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        second = self._seconds[-1]
        second.requests += 1
        second.failures += not answered
        second.tokens += tokens
        second.inference += inference

    def over(self, seconds: int) -> dict[str, Any]:
        """Return requests, failures and tokens a second over the last ``seconds``, and the mean time of an inference.

        The averages of a younger worker are over its age.
        """
        now = self._clock()
        span = max(1.0, min(float(seconds), now - self._began))
        chosen = [second for second in self._seconds if second.number > now - span - 1]
        requests = sum(second.requests for second in chosen)
        inference = sum(second.inference for second in chosen)
        return {
            "requests_per_second": round(requests / span, 3),
            "failures_per_second": round(sum(second.failures for second in chosen) / span, 3),
            "output_tokens_per_second": round(sum(second.tokens for second in chosen) / span, 3),
            "mean_inference_seconds": round(inference / requests, 3) if requests else None,
        }
