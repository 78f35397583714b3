# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of keys: concurrent requests, requests a minute, tokens a day."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Callable

from ..settings.keys import KeyConfig
from .errors import GatewayError

MINUTE = 60.0


class Allowances:
    """Counts the requests of all keys of this gateway. For one event loop.

    :param tokens_today: returns the tokens that a key has used since midnight UTC, by the name of the key.
    """

    def __init__(self, tokens_today: Callable[[str], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens_today = tokens_today
        self._clock = clock
        self._running: dict[str, int] = {}
        self._begun: dict[str, deque[float]] = {}

    @contextmanager
    def request(self, key: KeyConfig) -> Iterator[None]:
        """Count a request while it runs.

        :raises GatewayError: 429 if the key has reached a limit.
        """
        self._check(key)
        if key.per_minute is not None:
            self._begun.setdefault(key.name, deque()).append(self._clock())
        self._running[key.name] = self._running.get(key.name, 0) + 1
        try:
            yield
        finally:
            self._running[key.name] -= 1
            if not self._running[key.name]:
                del self._running[key.name]

    def running(self, name: str) -> int:
        """Return the number of requests of a key that run or wait."""
        return self._running.get(name, 0)

    def _check(self, key: KeyConfig) -> None:
        if key.concurrent is not None and self.running(key.name) >= key.concurrent:
            raise _refusal(f"The key {key.name} may have {key.concurrent} requests at a time, and has them", 1.0)
        if key.per_minute is not None:
            begun = self._begun.setdefault(key.name, deque())
            now = self._clock()
            while begun and begun[0] <= now - MINUTE:
                begun.popleft()
            if len(begun) >= key.per_minute:
                wait = begun[len(begun) - key.per_minute] + MINUTE - now
                raise _refusal(f"The key {key.name} may have {key.per_minute} requests a minute", wait)
        if key.tokens_per_day is not None and self._tokens_today(key.name) >= key.tokens_per_day:
            now_utc = datetime.now(timezone.utc)
            midnight = (now_utc + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            wait = (midnight - now_utc).total_seconds()
            raise _refusal(f"The key {key.name} may use {key.tokens_per_day} tokens a day, and has used them", wait)


def _refusal(message: str, seconds: float) -> GatewayError:
    return GatewayError(429, "rate_limit_exceeded", message, retry_after=max(1.0, seconds))
