# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The target's half of live progress: a small file with the current progress of the module.

A module returns nothing before it ends, so the controller's half (plugins/plugin_utils/_progress.py) chooses a file
name that nobody can guess, and reads the file from time to time over a second connection. The name comes in the
environment, because tasks must not set it. If the controller shows no progress, it gives no name, and the module writes
no file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from .._ollama.byte_counter import ByteCounter, CounterReading
from .._ollama.errors import CollectionError
from .._ollama.json_text import read_json

#: The environment variable with the possible paths of the file, separated as in ``PATH``.
FILES_VARIABLE = "LEGIONIO_OLLAMA_PROGRESS_FILES"
#: Bytes of the file: always the same number, and few, so that one write replaces the whole content.
SIZE = 512
#: The most characters of a name or step, because names of models may be long.
LONGEST_TEXT = 120
#: Seconds between two writes, and the seconds over which the rate is averaged.
WRITE_EVERY = 1.0
RATE_OVER = 15.0
#: Seconds of a transfer before the remaining time is estimated; the small blobs at the start are slow.
FORESEEABLE_AFTER = 3.0

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def reported_progress() -> Iterator[ByteCounter]:
    """Provide the byte counter of a module's work, and report it to the controller as long as the work lasts.

    The result of failed work has the last reading, as ``progress``.
    """
    counter = ByteCounter()
    gauge = _Gauge(counter)
    try:
        with _file(os.environ.get(FILES_VARIABLE, "").split(os.pathsep)) as path:
            if path is None:
                yield counter
            else:
                with _kept_current(path, gauge):
                    yield counter
    except CollectionError as error:
        reading = gauge.look()
        if reading.get("bytes_total"):
            error.result = {**(error.result or {}), "progress": reading}
        raise


class _Gauge:
    """The reading of a byte counter, with rate and remaining time."""

    def __init__(self, counter: ByteCounter) -> None:
        self._counter = counter
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def look(self) -> dict[str, Any]:
        """Return the state for people: names, bytes, bytes a second, seconds."""
        reading, now = self._counter.read(), time.monotonic()
        moved = reading.done - reading.kept
        if self._seen and (moved == 0 or moved < self._seen[-1][1]):
            self._seen.clear()  # nothing moves yet, or bytes were lost and must come again
        self._seen.append((now, moved))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER:
            self._seen.popleft()
        start, before = self._seen[0]
        rate = (moved - before) / (now - start) if now > start else 0.0
        return _state(reading, rate, foreseeable=now - start >= FORESEEABLE_AFTER)


def _state(reading: CounterReading, rate: float, *, foreseeable: bool) -> dict[str, Any]:
    state: dict[str, Any] = {"model": reading.what[:LONGEST_TEXT], "step": reading.step[:LONGEST_TEXT]}
    if reading.total:
        state.update(
            bytes=reading.done,
            bytes_total=reading.total,
            percent=100 * reading.done // reading.total,
            rate=int(rate),
            seconds_left=int((reading.total - reading.done) / rate) if rate >= 1 and foreseeable else None,
        )
        if reading.near:
            state["bytes_from_peers"] = reading.near
    return state


@contextlib.contextmanager
def _file(candidates: Sequence[str]) -> Iterator[Optional[str]]:
    """Create the file at the first possible path; remove it at the end."""
    for path in filter(os.path.isabs, candidates):
        try:
            # Never follows, reads or replaces another user's link or file at this path.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError:
            continue
        with _removed_when_killed(path):
            try:
                yield path
            finally:
                _remove(path)
        return
    yield None


@contextlib.contextmanager
def _removed_when_killed(path: str) -> Iterator[None]:
    """Remove the file also when a signal ends the module; then end as the signal demands."""

    def end(number: int, _frame: object) -> None:
        _remove(path)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.signal(number, end) for number in _ENDINGS if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


@contextlib.contextmanager
def _kept_current(path: str, gauge: _Gauge) -> Iterator[None]:
    """Write the reading of the gauge into the file once a second, in a thread."""
    over = threading.Event()

    def write() -> None:
        # An error, such as a full disk, only ends the reports.
        with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
            while not over.wait(WRITE_EVERY):
                os.pwrite(file.fileno(), encoded(gauge.look()), 0)

    thread = threading.Thread(target=write, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def encoded(state: dict[str, Any]) -> bytes:
    """Return the content of the file: a checksum, by which a reader notices a partial write, and the state as JSON."""
    text = json.dumps(state).encode("ascii")
    if len(text) > SIZE - 10:  # a name with many characters that take six bytes each
        text = json.dumps({**state, "model": "", "step": ""}).encode("ascii")
    return (b"%08x " % zlib.crc32(text) + text).ljust(SIZE - 1) + b"\n"


def decoded(text: str) -> Optional[dict[str, Any]]:
    """Return the state in a file; ``None`` without a valid state.

    :param text: the content of the file as the connection delivers it; a terminal in between may add characters.
    """
    found = re.search(r"([0-9a-f]{8}) (\{.*\})", text)
    if found is None or int(found.group(1), 16) != zlib.crc32(found.group(2).encode()):
        return None
    try:
        state = read_json(found.group(2))
    except ValueError:
        return None
    return state if isinstance(state, dict) else None
