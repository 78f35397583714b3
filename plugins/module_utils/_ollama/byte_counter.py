# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The progress of a long run: threads count the bytes that they move, and a reporter reads the counts.

Reading takes no lock, so a reader never delays these threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple


class CounterReading(NamedTuple):
    """The values of a counter at one moment.

    :ivar what: the thing that is moved, such as the name of a model; empty before the first one.
    :ivar step: the current step, if bytes do not show progress; else empty.
    :ivar done: bytes at their destination, including those of earlier runs.
    :ivar total: bytes at the destination at the end of the run; 0 if unknown.
    :ivar kept: bytes of ``done`` that are from before this run.
    :ivar near: bytes that neighbours sent.
    """

    what: str = ""
    step: str = ""
    done: int = 0
    total: int = 0
    kept: int = 0
    near: int = 0


class ByteCounter:
    """The bytes of one run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = CounterReading()
        self._layers: dict[str, tuple[int, int]] = {}

    def expect(self, what: str, total: int, *, kept: int = 0) -> None:
        """Announce the bytes of a run; ``kept`` of them are at the destination already."""
        kept = min(kept, total)  # the blocks of a file may exceed its size
        with self._lock:
            self._reading = CounterReading(what, "", kept, total, kept)

    def add(self, count: int, what: str = "", *, from_neighbour: bool = False) -> None:
        """Count moved bytes.

        :param what: the thing that the bytes belong to.
        :param from_neighbour: whether a neighbour sent them.
        """
        with self._lock:
            before = self._reading
            # A blob that starts over moves some of its bytes twice.
            done = min(before.done + count, before.total or before.done + count)
            near = before.near + count if from_neighbour else before.near
            self._reading = before._replace(what=what or before.what, done=done, near=near)

    def follow(self, what: str, document: Mapping[str, Any]) -> None:
        """Record a report of a pull, push or creation: ``{status[, digest, total, completed]}``.

        The server reports one layer after the other, so the total grows.
        """
        digest, total = document.get("digest"), document.get("total")
        with self._lock:
            before = self._reading
            if digest and isinstance(total, int):
                completed = min(int(document.get("completed") or 0), total)
                if digest not in self._layers:
                    # The first report of a layer includes the bytes of earlier runs.
                    before = before._replace(kept=before.kept + completed)
                self._layers[str(digest)] = completed, total
                done, whole = (sum(numbers) for numbers in zip(*self._layers.values()))
                self._reading = before._replace(what=what, step="", done=done, total=whole)
            else:
                self._reading = before._replace(what=what, step=str(document.get("status") or ""))

    def read(self) -> CounterReading:
        """Return the current values."""
        return self._reading
