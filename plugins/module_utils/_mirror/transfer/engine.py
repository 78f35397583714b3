# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The download engine: many blobs, several requests at the same time, bounded memory, each byte hashed once received.

The engine requests several ranges of a large blob at the same time. It receives each range into one of a fixed number
of buffers (``BufferPool``) and writes it at its place. ``OrderedHash`` hashes a range as soon as all bytes before the
range are hashed, while the other threads continue to receive. The same threads transfer small blobs in parallel.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Optional

from ..._ollama.api_errors import ApiError, ConnectionLostError, ReadTimeoutError, UnexpectedAnswerError
from ..._ollama.errors import CollectionError
from ..errors import MirrorCredentialsError, ObjectChangedError, ObjectMissingError, WrongDigestError
from ..retry import RANGE_READS, REPLACEMENTS, MirrorRetry
from .bandwidth import PIECE as LIMITED_PIECE
from .bandwidth import Bandwidth
from .blob_transfer import Transfer
from .buffer_pool import BufferPool, most_buffers
from .options import CHUNK_SIZE, CONCURRENCY
from .ordered_hash import BlobRange, OrderedHash
from .threads import together

#: Bytes received between two checks whether to stop, and between two reports of progress.
PIECE = 2 * 1024 * 1024

#: Errors of new requests only. Ranges that are being received are completed, so that the next run has them.
_OF_NEW_REQUESTS = (MirrorCredentialsError,)
#: Errors that concern one blob only. Any other error ends the run.
_OF_ONE_BLOB = (
    WrongDigestError,
    ObjectChangedError,
    ObjectMissingError,
    # Errors of a target that is an Ollama server.
    ApiError,
    ConnectionLostError,
    ReadTimeoutError,
    UnexpectedAnswerError,
)


@dataclass
class _Run:
    """The progress of one transfer. The engine's lock guards it."""

    transfer: Transfer
    hashing: OrderedHash = field(init=False)
    ready: bool = False
    asked: int = 0  # requested bytes, from the beginning of the blob
    fetching: int = 0  # threads that receive and write
    replaced: int = 0  # how often the object was replaced
    started_over: bool = False

    def __post_init__(self) -> None:
        self.hashing = OrderedHash(self.transfer.target)


class Engine:
    """Carries out transfers, in the given order.

    :param concurrency: the number of requests at the same time.
    :param chunk_size: bytes of one range request.
    :param retry: the retries of range requests.
    :param bandwidth: the limit of bytes per second for all transfers together.
    :param on_bytes: receives a transfer and the number of newly received bytes.
    :param on_done: receives each transfer whose blob is in place. Several threads call both functions.
    """

    def __init__(
        self,
        *,
        concurrency: int = CONCURRENCY,
        chunk_size: int = CHUNK_SIZE,
        retry: MirrorRetry = RANGE_READS,
        bandwidth: Optional[Bandwidth] = None,
        on_bytes: Callable[[Transfer, int], None] = lambda transfer, count: None,
        on_done: Callable[[Transfer], None] = lambda transfer: None,
    ) -> None:
        self._concurrency = concurrency
        self._chunk_size = chunk_size
        self._retry = retry
        self._bandwidth = bandwidth or Bandwidth(None)
        self._piece = LIMITED_PIECE if self._bandwidth.limited else PIECE
        self._on_bytes = on_bytes
        self._on_done = on_done
        # One lock guards everything. A freed buffer wakes only one waiting thread, because it is work for only one.
        # With a thousand small blobs, waking all threads each time would take longer than the transfers.
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._failed = threading.Condition(lock)
        self._waiting: deque[Transfer] = deque()
        self._running: list[_Run] = []
        self._error: Optional[BaseException] = None
        # With one buffer more than threads, all threads can receive while a full buffer waits for the bytes before it.
        self._buffers = BufferPool(max(2, min(concurrency + 1, most_buffers(chunk_size))), chunk_size)

    def run(self, transfers: Iterable[Transfer]) -> None:
        """Carry out all transfers. An error that concerns only one blob is stored in the ``error`` of its transfer.

        :raises CollectionError: any other error, after the transfers that had begun were suspended.
        """
        self._waiting = deque(transfers)
        requests = sum(1 + transfer.size // self._chunk_size for transfer in self._waiting)
        # An interruption leaves the running transfers as a kill would: a thread may still be writing.
        together(self._work, min(self._concurrency, requests), "transfer", self._stop)
        if self._error is not None:
            for run in self._running:
                self._suspend(run)
            raise self._error

    def _work(self) -> None:
        """Carry out tasks until there are none left. Each thread runs this."""
        try:
            while True:
                task = self._next()
                if task is None:
                    return
                task()
        except BaseException as error:  # noqa: BLE001 - run() raises it
            self._stop(error)

    def _next(self) -> Optional[Callable[[], None]]:
        """Wait for a task, and return it; ``None`` if there are no more tasks."""
        with self._changed:
            while self._error is None and (self._waiting or self._running):
                task = self._pick()
                if task is not None:
                    return task
                self._changed.wait()
            return None

    def _pick(self) -> Optional[Callable[[], None]]:
        """Return the next task; ``None`` if there is none, or if it needs a buffer and all are in use."""
        # Transfers that have begun come first, in order: the range that closes a gap must always get a buffer.
        for run in self._running:
            if run.ready and run.transfer.error is None and run.asked < run.transfer.size:
                buffer = self._buffers.take()
                if buffer is None:
                    return None
                run.fetching += 1
                start, run.asked = run.asked, min(run.asked + self._chunk_size, run.transfer.size)
                return partial(self._fetch, run, BlobRange(start, buffer, memoryview(buffer)[: run.asked - start]))
        if not self._waiting:
            return None
        run = _Run(self._waiting[0])
        task = partial(self._begin, run)
        if run.transfer.size <= self._chunk_size:
            buffer = self._buffers.take()
            if buffer is None:
                return None
            task = partial(self._bring, run, buffer)
        self._waiting.popleft()
        self._running.append(run)
        if self._waiting and self._waiting[0].size > self._chunk_size:
            self._changed.notify()  # a large transfer begins without a buffer, so no freed buffer wakes a thread for it
        return task

    def _begin(self, run: _Run) -> None:
        """Begin a transfer of several pieces."""
        offset = run.hashing.begin()
        with self._changed:
            run.transfer.resumed = run.asked = offset
            run.ready = True
            self._changed.notify_all()
        if offset == run.transfer.size:
            self._finish(run)

    def _bring(self, run: _Run, buffer: mmap.mmap) -> None:
        """Carry out a transfer of one piece as one task."""
        size = run.transfer.size
        offset = run.transfer.resumed = run.hashing.begin()
        run.asked = size
        if offset == size:
            self._put_back(buffer)
            self._finish(run)
            return
        run.fetching = 1
        run.ready = True
        self._fetch(run, BlobRange(offset, buffer, memoryview(buffer)[: size - offset]))

    def _fetch(self, run: _Run, piece: BlobRange) -> None:
        """Receive a piece and write it to the target; then hash all pieces that can be hashed."""
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
                run.hashing.add(piece)
        self._hash(run)

    def _receive(self, run: _Run, piece: BlobRange) -> None:
        """Receive a piece, with as many requests as needed. Stop early if the run or the transfer fails."""
        source, start, view, failures = run.transfer.source, piece.start, piece.view, 0
        while piece.got < len(view) and self._error is None and run.transfer.error is None:
            version = source.version
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
                # The name of a blob is the digest of its content, so the new object should have the same content.
                if version == source.version and run.replaced >= REPLACEMENTS:
                    raise
                if source.refresh(version):
                    with self._changed:
                        run.replaced += 1
            except CollectionError as error:
                failures += 1
                if not self._retry.covers(error) or self._retry.is_final(failures):
                    raise
                self._wait(self._retry.pause(failures))

    def _is_over(self) -> bool:
        """Return whether an error has made the bytes that are being received useless."""
        return self._error is not None and not isinstance(self._error, _OF_NEW_REQUESTS)

    def _wait(self, seconds: float) -> None:
        """Wait; return early if the run fails."""
        with self._failed:
            self._failed.wait_for(lambda: self._error is not None, seconds)

    def _hash(self, run: _Run) -> None:
        """Hash the pieces that continue the hashed bytes, unless another thread does so."""
        while True:
            with self._changed:
                if run.transfer.error is not None or self._error is not None:
                    break
                piece = run.hashing.claim()
                if piece is None:
                    return
            refused: Optional[CollectionError] = None
            try:
                run.hashing.hash(piece)
            except _OF_ONE_BLOB as error:
                refused = error
            with self._changed:
                run.hashing.release(piece, hashed=refused is None)
                run.transfer.error = run.transfer.error or refused
                self._put_back(piece.buffer)
            if run.hashing.length == run.transfer.size:
                self._finish(run)
                return
        self._give_up(run)

    def _finish(self, run: _Run) -> None:
        """Put a completely hashed blob in place if its digest is right."""
        transfer = run.transfer
        found = run.hashing.digest
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
            # The pieces may come from different objects, so download the whole blob once more.
            run.ready, run.started_over = False, True
            self._begin(run)
            return
        transfer.error = WrongDigestError(
            f"The content of blob {transfer.digest} has the digest {found}",
            remedy="The source of the blob is damaged: remove the blob there and publish it again",
            digest=transfer.digest,
            found=found,
        )
        self._retire(run)

    def _give_up(self, run: _Run) -> None:
        """Suspend a failed transfer if no other thread works on it."""
        with self._changed:
            idle = not (run.fetching or run.hashing.busy)
            mine = run.transfer.error is not None and run in self._running and idle
            if mine:
                self._running.remove(run)
        if mine:
            self._suspend(run)
            with self._changed:
                for piece in run.hashing.take_rest():
                    self._buffers.give_back(piece.buffer)
                self._changed.notify_all()

    def _suspend(self, run: _Run) -> None:
        """Keep the bytes of a transfer for a later run. No thread may be working on the transfer."""
        with contextlib.suppress(CollectionError):
            run.hashing.save_rest()
        run.transfer.target.suspend()

    def _retire(self, run: _Run) -> None:
        with self._changed:
            self._running.remove(run)
            if not self._running and not self._waiting:
                self._changed.notify_all()

    def _put_back(self, buffer: mmap.mmap) -> None:
        with self._changed:
            self._buffers.give_back(buffer)
            self._changed.notify()

    def _stop(self, error: BaseException) -> None:
        """End the run with an error. Only the first error counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
            self._failed.notify_all()
