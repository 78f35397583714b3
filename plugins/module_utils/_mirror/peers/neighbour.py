# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A neighbour: another node that may have pieces of a blob."""

from __future__ import annotations

import contextlib
import errno
import random
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from ..._http.endpoint import BlockingResponse, Endpoint, IdleLimit
from ..._ollama.digests import blob_file_name
from ..._ollama.text import printable
from .piece_list import MOST_PIECES, PieceList
from .piece_marks import PRESENT, pieces_in
from .signature import RequestSigner

#: The port of the blob server, unless the address has another one.
PORT = 11480

#: The longest time in seconds to open a connection, and the longest silence on an open one.
CONNECT_TIMEOUT = 3.0
SILENCE = 10.0

#: The longest time in seconds for the marks of all pieces, at most 16 KiB.
MARKS_TIMEOUT = 10.0

#: Failures in a row after which a neighbour is not asked again in this run.
FAILURES = 4

#: The pause in seconds after a busy answer, and the longest pause after a failure.
BUSY_REST = 0.5
LONGEST_REST = 15.0

#: The busy answers in a row, several seconds, after which an import no longer waits for this neighbour.
BUSY_IN_A_ROW = 12

#: The verdicts on a neighbour.
GOOD, LIED, FAILED = "good", "lied", "failed"


class NeighbourError(OSError):
    """A neighbour does not give a useful answer."""


class NeighbourBusyError(NeighbourError):
    """A neighbour has too many requests now."""


class NeighbourClosedError(NeighbourBusyError):
    """A neighbour closes the connection instead of an answer, as a server with too many connections does."""


class NeighbourLacksError(NeighbourError):
    """A neighbour does not have the requested bytes any more."""


@dataclass
class View:
    """The pieces of a blob at a neighbour.

    :ivar marks: a character for each piece (``piece_marks.py``).
    :ivar importer: the name of the neighbour's running import of the blob; empty if it has the whole blob.
    """

    marks: bytes
    importer: str = ""

    @cached_property
    def pieces(self) -> int:
        """The pieces that the neighbour has, as bits (``piece_marks.py``)."""
        return pieces_in(self.marks)


class Neighbour:
    """One neighbour. Several threads read from it at the same time.

    :ivar name: the address of the neighbour, as in results.
    :ivar verdict: ``good``, ``lied`` or ``failed``; only a good neighbour is asked.
    :ivar trouble: the last failure, as text for results; empty if there was none.
    :ivar received: bytes of right pieces from this neighbour.
    :ivar reading: the number of running requests for pieces.
    :ivar itself: whether the neighbour has turned out to be the node itself.
    :ivar view: the pieces of the current blob at this neighbour; ``None`` if unknown or none.
    """

    def __init__(
        self,
        address: str,
        signer: Optional[RequestSigner],
        tls: Optional[ssl.SSLContext] = None,
        limit: Optional[IdleLimit] = None,
    ) -> None:
        """:param limit: to the idle connections to all neighbours."""
        host, port = parse_address(address)
        self.name = address
        self.verdict = GOOD
        self.trouble = ""
        self.received = 0
        self.reading = 0
        self.itself = False
        self.view: Optional[View] = None
        self._signer = signer
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._endpoint = Endpoint(host, port, connect_timeout=CONNECT_TIMEOUT, silence=SILENCE, tls=tls, limit=limit)
        self._failures = 0
        self._read_failed = False  # since the last right bytes
        self._busy = 0  # answers in a row that it is busy
        self._rests_until = 0.0

    @property
    def overloaded(self) -> bool:
        """Whether the neighbour has been busy for so long that its pieces count as missing."""
        return self._busy >= BUSY_IN_A_ROW

    @property
    def usable(self) -> bool:
        """Whether the neighbour can be asked now."""
        return self.verdict == GOOD and time.monotonic() >= self._rests_until

    @property
    def failing(self) -> bool:
        """Whether the neighbour is not good, or its last request failed. A busy neighbour does not fail."""
        return self.verdict != GOOD or self._failures > 0

    def look(self, pieces: PieceList) -> Optional[View]:
        """Return which pieces of a blob the neighbour has; ``None`` if it neither has nor imports the blob.

        :raises OSError: if the neighbour does not give a useful answer.
        """
        answer = self._ask(f"/v1/blobs/{blob_file_name(pieces.digest)}/pieces", {})
        with contextlib.closing(answer):
            if answer.status == 404:
                return None
            self._must_be(answer.status, 200)
            marks = answer.read(MOST_PIECES + 1, seconds=MARKS_TIMEOUT)
            whole = answer.headers.get("x-blob-state") == "whole"
            if answer.headers.get("x-blob-size") != str(pieces.size):
                raise NeighbourError(f"its blob {pieces.digest} has another size")
            if whole:
                return View(bytes([PRESENT]) * len(pieces.digests))
            if answer.headers.get("x-piece-size") != str(pieces.piece_size) or len(marks) != len(pieces.digests):
                raise NeighbourError(f"its pieces of {pieces.digest} have another size or number")
            return View(marks, printable(answer.headers.get("x-importer", ""), 32) or "unnamed")

    def hang_up(self) -> None:
        """Close the connections that no request uses."""
        self._endpoint.close_idle()

    def open(self, pieces: PieceList, start: int, stop: int) -> BlockingResponse:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive.

        :raises OSError: if the neighbour does not give a useful answer.
        """
        answer = self._ask(f"/v1/blobs/{blob_file_name(pieces.digest)}", {"range": f"bytes={start}-{stop - 1}"})
        try:
            self._must_be(answer.status, 206)
            if answer.length != stop - start:
                raise NeighbourError(f"it sends {answer.length} bytes instead of {stop - start}")
        except BaseException:
            answer.close()
            raise
        return answer

    def worked(self, count: int) -> None:
        """Count right bytes from this neighbour, which also ends a row of failures."""
        self._failures = self._busy = 0
        self._read_failed = False
        self.received += count

    def answered(self) -> None:
        """Count a useful answer to a look.

        The answer ends a row of failures, unless a read is among them: a neighbour may answer looks, and yet fail to
        send bytes.
        """
        if not self._read_failed:
            self._failures = 0

    def failed(self, error: OSError, *, read: bool = True) -> None:
        """Record a failure. The neighbour is not asked for a while, and not at all after several failures in a row.

        :param read: whether a read of bytes failed, and not a look.
        """
        # A neighbour that closes each connection has another fault, for example other TLS settings.
        if isinstance(error, NeighbourBusyError) and not (isinstance(error, NeighbourClosedError) and self.overloaded):
            self._busy += 1
            self._rests_until = time.monotonic() + BUSY_REST * random.uniform(0.5, 1.5)  # noqa: S311
            return
        if isinstance(error, NeighbourLacksError):
            self.view = None
            return
        self._failures += 1
        self._read_failed = self._read_failed or read
        self.trouble = printable(str(error) or type(error).__name__, 200)
        self._rests_until = time.monotonic() + min(2.0**self._failures, LONGEST_REST)
        if self._failures >= FAILURES:
            self.verdict = FAILED
            self.view = None  # or its pieces would count as spread, and the node would leave them to it

    def lied(self, piece: int, digest: str) -> None:
        """Record a piece with a wrong digest. The neighbour is not asked again."""
        self.verdict = LIED
        self.trouble = f"sent wrong bytes as piece {piece} of {digest}"
        self.view = None

    def _ask(self, target: str, headers: dict[str, str]) -> BlockingResponse:
        headers = {"host": self._host, **headers}
        signed = self._signer.signed(target, headers) if self._signer else headers
        try:
            return self._endpoint.ask("GET", target, signed)
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE) or isinstance(error, ssl.SSLEOFError):
                raise NeighbourClosedError("it closes the connection without an answer") from error
            raise

    @staticmethod
    def _must_be(status: int, wanted: int) -> None:
        if status == 503:
            raise NeighbourBusyError("it is busy")
        if status in (404, 416):
            raise NeighbourLacksError("it does not have the bytes any more")
        if status in (401, 403):
            raise NeighbourError("it refuses the signature of this node: compare the secret and the clocks")
        if status != wanted:
            raise NeighbourError(f"it answers with status {status}")


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of an address: ``host``, ``host:port`` or ``[IPv6]:port``.

    :raises ValueError: if the text is not an address.
    """
    host, bracket, rest = address.partition("]")
    if bracket and host.startswith("["):
        host, port = host[1:], rest[1:] if rest.startswith(":") else "" if not rest else "?"
    elif address.count(":") > 1:
        host, port = address, ""
    else:
        host, _colon, port = address.partition(":")
    if not host or not host.isascii() or any(sign in host for sign in "/@ \r\n[]"):
        raise ValueError(f"{address!r} is not an address")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} has no port from 1 to 65535")
    return host, int(port or PORT)
