# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The progress of a long run: the threads that move bytes count them, a reporter reads the count now and then.

Counting costs one addition, so a reader never delays the threads that move bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """The values of a counter at one moment.

    :ivar what: what is being moved, such as the name of a model; empty as long as nothing is.
    :ivar step: the current step, where bytes do not show progress; else empty.
    :ivar done: bytes at their destination, those of earlier runs included.
    :ivar total: bytes at the destination when the run has ended; 0 if unknown.
    :ivar kept: the part of ``done`` that did not have to be moved in this run.
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
        self._reading = Reading()
        self._layers: dict[str, tuple[int, int]] = {}

    def expect(self, what: str, total: int, *, kept: int = 0) -> None:
        """Announce the bytes of a run; ``kept`` of them are there from an earlier run."""
        kept = min(kept, total)  # a disk gives space in blocks
        with self._lock:
            self._reading = Reading(what, "", kept, total, kept)

    def add(self, count: int, what: str = "", *, from_neighbour: bool = False) -> None:
        """Count bytes that were moved, and what they belong to.

        :param from_neighbour: whether a neighbour sent them.
        """
        with self._lock:
            before = self._reading
            # A blob that has to be started over brings some of its bytes twice.
            done = min(before.done + count, before.total or before.done + count)
            near = before.near + count if from_neighbour else before.near
            self._reading = before._replace(what=what or before.what, done=done, near=near)

    def follow(self, what: str, document: Mapping[str, Any]) -> None:
        """Take in one report of a pull, push or creation: ``{status[, digest, total, completed]}``.

        The layers become known one after the other, so that the total grows.
        """
        digest, total = document.get("digest"), document.get("total")
        with self._lock:
            before = self._reading
            if digest and isinstance(total, int):
                completed = min(int(document.get("completed") or 0), total)
                if digest not in self._layers:
                    # The first report of a layer counts bytes that were there before.
                    before = before._replace(kept=before.kept + completed)
                self._layers[str(digest)] = completed, total
                done, whole = (sum(numbers) for numbers in zip(*self._layers.values()))
                self._reading = before._replace(what=what, step="", done=done, total=whole)
            else:
                self._reading = before._replace(what=what, step=str(document.get("status") or ""))

    def read(self) -> Reading:
        """Return the current values."""
        return self._reading
