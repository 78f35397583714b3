# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of the node's fleet worker, read from its metrics."""

from __future__ import annotations

import contextlib
import re
import threading
import time

from ._http.endpoint import Endpoint
from ._mirror.peers.neighbour import parse_address

#: The seconds for which an answer is valid, and the most seconds for an answer.
FRESH = 0.5
PATIENCE = 1.0

#: The most bytes of the metrics.
_MOST = 4 * 1024 * 1024

_IN_FLIGHT = re.compile(rb"^fleet_worker_in_flight\{[^\n]*\} ([0-9.e+]+)$", re.MULTILINE)


class BusyWorker:
    """A worker that may be busy. Several threads ask.

    :param address: the host and port of the metrics.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        self._host = address
        self._endpoint = Endpoint(host, port, connect_timeout=PATIENCE, silence=PATIENCE)
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._busy = False

    def is_busy(self) -> bool:
        """Return whether the worker runs a request. A worker that does not answer counts as idle."""
        with self._lock:
            if time.monotonic() - self._asked >= FRESH:
                self._busy = False
                with contextlib.suppress(OSError, ValueError):
                    self._busy = self._in_flight() > 0
                self._asked = time.monotonic()
            return self._busy

    def _in_flight(self) -> float:
        with contextlib.closing(
            self._endpoint.ask("GET", "/metrics?name[]=fleet_worker_in_flight", {"host": self._host})
        ) as answer:
            return sum(float(number) for number in _IN_FLIGHT.findall(answer.read(_MOST, seconds=PATIENCE)))
