# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The download engine: many blobs, several requests at once, bounded memory, and every byte hashed on its way.

A large blob comes as several ranges at once. Each is received into one of a fixed number of buffers and written at its
place. As soon as the range that continues what has been hashed is there, whichever thread brought it hashes it, and all
that follow without a gap, while the other threads go on receiving. So the digest is known when the last byte is, and
nothing is read twice. Small blobs run side by side in the same threads.
"""

from __future__ import annotations

import contextlib
import mmap
import random
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional, Protocol

from ..._ollama.api_errors import ApiError, ConnectionLostError, ReadTimeoutError, UnexpectedAnswerError
from ..._ollama.errors import CollectionError
from ..errors import (
    MirrorBusyError,
    MirrorCredentialsError,
    MirrorUnreachableError,
    NotS3Error,
    ObjectChangedError,
    ObjectMissingError,
    WrongDigestError,
)
from .bandwidth import PIECE as LIMITED_PIECE
from .bandwidth import Bandwidth
from .options import CHUNK_SIZE, CONCURRENCY

#: Bytes of all buffers together. What the process needs beside them (Python, the SDK) is about 60 MB.
MEMORY = 48 * 1024 * 1024

#: Bytes received between two looks at whether to stop, and between two reports of progress.
PIECE = 2 * 1024 * 1024

#: Tries of a request in a row that bring not a single byte. The pause between two is a random part of 1, 2, 4 ...
#: seconds.
ATTEMPTS = 6
LONGEST_PAUSE = 20.0

#: How often an object may be replaced by another while it is read, before that is an error.
REPLACEMENTS = 3

#: Errors that may be gone at the next try, and errors that concern one blob only; any other one ends the run.
_TRANSIENT = (MirrorUnreachableError, MirrorBusyError, NotS3Error)
#: Errors of new requests: what is on its way already can still come, so that the next run has it.
_OF_NEW_REQUESTS = (MirrorCredentialsError,)
_OF_ONE_BLOB = (
    WrongDigestError,
    ObjectChangedError,
    ObjectMissingError,
    # Of a target that is an Ollama server.
    ApiError,
    ConnectionLostError,
    ReadTimeoutError,
    UnexpectedAnswerError,
)


class RangeStream(Protocol):
    """The answer to one request."""

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes, at least one, and return how many.

        :raises MirrorUnreachableError: when the connection breaks, or the answer is too short.
        """

    def close(self) -> None:
        """Be done with the answer, read to its end or not."""


class Source(Protocol):
    """Where the bytes of one blob come from. Several threads use it at once."""

    def open(self, start: int, stop: int) -> RangeStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive.

        :raises ObjectChangedError: when it is no longer the object that it was at first.
        """

    def refresh(self) -> None:
        """Accept the object that is there now, if it can still be the same blob."""


class Hash(Protocol):
    """What is needed of hashlib's objects."""

    def update(self, data: Any, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Target(Protocol):
    """Where the bytes of one blob go. But for :meth:`write`, no two of its methods are called at once."""

    def begin(self) -> tuple[int, Hash]:
        """Get ready; return how many bytes are there from an earlier run, and the hash that has seen them."""

    def write(self, offset: int, data: memoryview) -> None:
        """Take bytes, from several threads and in any order.

        ``data`` begins a buffer of whole pages; what follows it there may be overwritten.
        """

    def reached(self, length: int, data: memoryview) -> None:
        """Take what must go in order: the end of the first so many bytes, which are there and not yet hashed.

        :meth:`passed` is called for the same bytes next; until it returns they stay where they are.
        """

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Take note that the first so many bytes are there, of which ``data`` is the end.

        ``seen`` has seen them and no more.
        """

    def cut(self, length: int) -> bool:
        """Drop what was written behind the first so many bytes; return whether more would be of use to a later run."""

    def commit(self) -> None:
        """Put the blob in place: it is complete, and its digest is right."""

    def suspend(self) -> None:
        """Keep what is there for a later run."""

    def discard(self) -> None:
        """Throw away what is there; :meth:`begin` may be called again."""


@dataclass
class Transfer:
    """One blob on its way.

    :param size: in bytes; the source has exactly as many.
    :ivar received: bytes that came over the network in this run.
    :ivar resumed: bytes that were there from an earlier run.
    :ivar error: why the blob could not be had, though others might.
    """

    digest: str
    size: int
    source: Source
    target: Target
    received: int = 0
    resumed: int = 0
    error: Optional[CollectionError] = None


@dataclass
class _Piece:
    """One range of a blob, in one buffer.

    :ivar got: bytes of it that have come.
    """

    start: int
    buffer: mmap.mmap
    view: memoryview
    got: int = 0
    written: bool = False


@dataclass
class _Run:
    """Where the engine is with a transfer. All but the target's own state is guarded by the engine's condition."""

    transfer: Transfer
    ready: bool = False
    asked: int = 0  # bytes that were asked for, from the beginning
    passed: int = 0  # bytes that were hashed, from the beginning
    seen: Any = None
    arrived: dict[int, _Piece] = field(default_factory=dict)  # those that no thread works on any more, by their start
    fetching: int = 0  # threads that receive and write
    draining: bool = False  # whether a thread hashes
    replaced: int = 0
    started_over: bool = False


class Engine:
    """Carries transfers out, in the order given.

    :param bandwidth: how many bytes a second all of them may bring together.
    :param on_bytes: is told how many bytes of a blob have come.
    :param on_done: is told of each blob that is in place. Both are called from several threads.
    """

    def __init__(
        self,
        *,
        concurrency: int = CONCURRENCY,
        chunk_size: int = CHUNK_SIZE,
        longest_pause: float = LONGEST_PAUSE,
        bandwidth: Optional[Bandwidth] = None,
        on_bytes: Callable[[Transfer, int], None] = lambda transfer, count: None,
        on_done: Callable[[Transfer], None] = lambda transfer: None,
    ) -> None:
        self._concurrency = concurrency
        self._chunk_size = chunk_size
        self._longest_pause = longest_pause
        self._bandwidth = bandwidth or Bandwidth(None)
        self._piece = LIMITED_PIECE if self._bandwidth.limited else PIECE
        self._on_bytes = on_bytes
        self._on_done = on_done
        # One lock guards everything. Threads wait for something to do, which one more free buffer is for one of them
        # only: with a thousand small blobs, waking all of them each time takes longer than the blobs.
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._failed = threading.Condition(lock)
        self._waiting: deque[Transfer] = deque()
        self._running: list[_Run] = []
        self._error: Optional[BaseException] = None
        self._free: list[mmap.mmap] = []
        # One buffer more than threads lets all of them receive while one buffer waits for the gap before it to close.
        self._unallocated = max(2, min(concurrency + 1, MEMORY // chunk_size))

    def run(self, transfers: Iterable[Transfer]) -> None:
        """Carry out all transfers. What concerns one blob only is left in its ``error``.

        :raises CollectionError: whatever concerns them all; what was under way is suspended then.
        """
        self._waiting = deque(transfers)
        requests = sum(1 + transfer.size // self._chunk_size for transfer in self._waiting)
        threads = [
            threading.Thread(target=self._work, name=f"transfer-{number}", daemon=True)
            for number in range(min(self._concurrency, requests))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as interruption:
            # What is under way is left as a kill would leave it: a thread may be writing still.
            self._stop(interruption)
            raise
        if self._error is not None:
            for run in self._running:
                self._suspend(run)
            raise self._error

    def _work(self) -> None:
        try:
            while True:
                task = self._next()
                if task is None:
                    return
                task()
        except BaseException as error:  # noqa: BLE001 - run() raises it
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
            self._failed.notify_all()

    def _next(self) -> Optional[Callable[[], None]]:
        """Wait for something to do, and return it; ``None`` when there will be nothing more."""
        with self._changed:
            while self._error is None and (self._waiting or self._running):
                task = self._pick()
                if task is not None:
                    return task
                self._changed.wait()
            return None

    def _pick(self) -> Optional[Callable[[], None]]:
        # What was begun goes first, in order: the thread that closes a gap must never lack a buffer.
        for run in self._running:
            if run.ready and run.transfer.error is None and run.asked < run.transfer.size:
                buffer = self._take_buffer()
                if buffer is None:
                    return None
                run.fetching += 1
                start, run.asked = run.asked, min(run.asked + self._chunk_size, run.transfer.size)
                return partial(self._fetch, run, _Piece(start, buffer, memoryview(buffer)[: run.asked - start]))
        if not self._waiting:
            return None
        run = _Run(self._waiting[0])
        task = partial(self._begin, run)
        if run.transfer.size <= self._chunk_size:
            # One thread does all of it, without asking the others in between.
            buffer = self._take_buffer()
            if buffer is None:
                return None
            task = partial(self._bring, run, buffer)
        self._waiting.popleft()
        self._running.append(run)
        if self._waiting and self._waiting[0].size > self._chunk_size:
            self._changed.notify()  # to begin a large one takes no buffer, and nobody is told of it otherwise
        return task

    def _take_buffer(self) -> Optional[mmap.mmap]:
        if self._free:
            return self._free.pop()
        if not self._unallocated:
            return None
        self._unallocated -= 1
        # Whole pages, as direct output wants them.
        return mmap.mmap(-1, -(-self._chunk_size // mmap.PAGESIZE) * mmap.PAGESIZE)

    def _bring(self, run: _Run, buffer: mmap.mmap) -> None:
        """Carry out a transfer of one piece."""
        size = run.transfer.size
        offset, run.seen = run.transfer.target.begin()
        run.transfer.resumed = run.passed = offset
        run.asked = size
        if offset == size:
            self._put_back(buffer)
            self._finish(run)
            return
        run.fetching = 1
        run.ready = True
        self._fetch(run, _Piece(offset, buffer, memoryview(buffer)[: size - offset]))

    def _put_back(self, buffer: mmap.mmap) -> None:
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()

    def _begin(self, run: _Run) -> None:
        offset, run.seen = run.transfer.target.begin()
        with self._changed:
            run.transfer.resumed = run.passed = run.asked = offset
            run.ready = True
            self._changed.notify_all()
        if offset == run.transfer.size:
            self._finish(run)

    def _fetch(self, run: _Run, piece: _Piece) -> None:
        failed: Optional[CollectionError] = None
        try:
            self._receive(run, piece)
            if piece.got == len(piece.view):
                run.transfer.target.write(piece.start, piece.view)
                piece.written = True
        except _OF_ONE_BLOB as error:
            error.details.setdefault("digest", run.transfer.digest)
            failed = error
        finally:
            with self._changed:
                run.fetching -= 1
                run.transfer.error = run.transfer.error or failed
                run.transfer.received += piece.got
                run.arrived[piece.start] = piece
        self._drain(run)

    def _receive(self, run: _Run, piece: _Piece) -> None:
        """Fill a buffer, with as many requests as it takes, unless something fails meanwhile."""
        source, start, view, failures = run.transfer.source, piece.start, piece.view, 0
        while piece.got < len(view) and self._error is None and run.transfer.error is None:
            try:
                with contextlib.closing(source.open(start + piece.got, start + len(view))) as stream:
                    while piece.got < len(view) and not self._is_over():
                        count = stream.readinto(view[piece.got : piece.got + self._piece])
                        piece.got += count
                        failures = 0
                        self._on_bytes(run.transfer, count)
                        debt = self._bandwidth.spend(count)
                        if debt:
                            self._wait(debt)
            except ObjectChangedError:
                # A blob is named by its content, so another object of that name should be the same bytes once more.
                with self._changed:
                    run.replaced += 1
                if run.replaced > REPLACEMENTS:
                    raise
                source.refresh()
            except _TRANSIENT:
                failures += 1
                if failures == ATTEMPTS:
                    raise
                self._wait(random.uniform(0, min(2.0 ** (failures - 1), self._longest_pause)))  # noqa: S311

    def _is_over(self) -> bool:
        """Return whether what is being received is of no use any more."""
        return self._error is not None and not isinstance(self._error, _OF_NEW_REQUESTS)

    def _wait(self, seconds: float) -> None:
        with self._failed:
            self._failed.wait_for(lambda: self._error is not None, seconds)

    def _drain(self, run: _Run) -> None:
        """Hash what is written and continues what is hashed, unless another thread is at it."""
        while True:
            with self._changed:
                if run.transfer.error is not None or self._error is not None:
                    break
                piece = run.arrived.get(run.passed)
                if run.draining or piece is None or not piece.written:
                    return
                run.draining = True
                del run.arrived[piece.start]
            length = run.passed + len(piece.view)
            refused: Optional[CollectionError] = None
            try:
                run.transfer.target.reached(length, piece.view)
                run.seen.update(piece.view)
                run.transfer.target.passed(length, piece.view, run.seen)
            except _OF_ONE_BLOB as error:
                refused = error
            with self._changed:
                if refused:
                    run.transfer.error = run.transfer.error or refused
                else:
                    run.passed = length
                run.draining = False
                self._put_back(piece.buffer)
            if run.passed == run.transfer.size:
                self._finish(run)
                return
        self._give_up(run)

    def _finish(self, run: _Run) -> None:
        transfer = run.transfer
        found = f"sha256:{run.seen.hexdigest()}"
        if found == transfer.digest:
            try:
                transfer.target.commit()
            except _OF_ONE_BLOB as error:
                transfer.error = error
                transfer.target.suspend()
            else:
                self._on_done(transfer)
            self._retire(run)
            return
        transfer.target.discard()
        if (transfer.resumed or run.replaced) and not run.started_over:
            # The pieces may be of different objects; a single one may be sound.
            run.ready, run.started_over = False, True
            self._begin(run)
            return
        transfer.error = WrongDigestError(
            f"The content of blob {transfer.digest} has the digest {found}",
            remedy="What it came from is damaged: remove it there and publish it again",
            digest=transfer.digest,
            found=found,
        )
        self._retire(run)

    def _give_up(self, run: _Run) -> None:
        """Suspend a transfer that failed, as the last thread that works on it."""
        with self._changed:
            mine = run.transfer.error is not None and run in self._running and not (run.fetching or run.draining)
            if mine:
                self._running.remove(run)
        if mine:
            self._suspend(run)
            with self._changed:
                self._free.extend(piece.buffer for piece in run.arrived.values())
                run.arrived.clear()
                self._changed.notify_all()

    def _suspend(self, run: _Run) -> None:
        """Suspend a transfer that nobody works on, with all that continues what is hashed and is in memory still.

        On a disk that is full, what was written behind a gap gives way to what closes the gap.
        """
        target, sound = run.transfer.target, not run.draining  # else a thread died between hashing and taking note
        with contextlib.suppress(CollectionError):
            useful = sound and run.passed in run.arrived and target.cut(run.passed)
            while useful and run.passed in run.arrived:
                piece = run.arrived[run.passed]
                # Whole pages, so that a later run can go on with direct output.
                whole = piece.got if piece.got == len(piece.view) else piece.got // mmap.PAGESIZE * mmap.PAGESIZE
                if not whole:
                    break
                target.write(run.passed, piece.view[:whole])
                target.reached(run.passed + whole, piece.view[:whole])
                run.seen.update(piece.view[:whole])
                run.passed += whole
                target.passed(run.passed, piece.view[:whole], run.seen)
        target.suspend()

    def _retire(self, run: _Run) -> None:
        with self._changed:
            self._running.remove(run)
            if not self._running and not self._waiting:
                self._changed.notify_all()
