# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Marks: the pieces of a blob that an import has or is reading from the mirror, for the blob server of the node.

The marks file is beside the partial file. It has one line about the import, and one character for each piece. The
import locks the file as long as it runs. Without this lock, readers ignore the marks, because after a crash the partial
file may have fewer pieces than its marks say.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..._ollama.json_text import read_json
from ..._ollama.safe_fs import Directory, Ownership, explained
from ..errors import MirrorError
from ..transfer.partial_file import marks_name
from .piece_list import MOST_PIECES, PieceList

MISSING = b"0"[0]
PRESENT = b"1"[0]
#: The import is reading the piece from the mirror.
CLAIMED = b"c"[0]

#: A translation of marks to binary digits: 1 for a piece that is present, 0 for any other byte.
_DIGITS = bytes(b"1"[0] if mark == PRESENT else b"0"[0] for mark in range(256))

#: Bytes of the line about the import, padded with spaces.
_LINE = 4096

#: The longest wait of an import for the lock in seconds. A server holds the lock only for a moment.
_PATIENCE = 2.0


def pieces_in(marks: bytes) -> int:
    """Return the present pieces as the bits of a number. The lowest bit is piece 0."""
    return int(marks[::-1].translate(_DIGITS) or b"0", 2)


@dataclass(frozen=True)
class SharedMarks:
    """The marks of a running import, as the blob server of its node reads them.

    :ivar importer: the name of the import, which is random hexadecimal digits.
    :ivar models: full names of the models that need the blob.
    :ivar marks: one character for each piece.
    """

    importer: str
    size: int
    piece_size: int
    models: tuple[str, ...]
    marks: bytes

    def has(self, start: int, stop: int) -> bool:
        """Return whether the import has all bytes from ``start`` up to ``stop``, exclusive."""
        first, last = start // self.piece_size, (stop - 1) // self.piece_size
        found = self.marks[first : last + 1]
        return 0 <= start < stop <= self.size and found == bytes([PRESENT]) * (last - first + 1)


class PieceMarks:
    """The marks of this import. Several threads set marks."""

    def __init__(self, directory: Directory, stem: str, pieces: PieceList, ownership: Ownership) -> None:
        self._directory = directory
        self._name = marks_name(stem)
        self._pieces = pieces
        self._ownership = ownership
        self._descriptor = -1
        self.importer = secrets.token_hex(8)

    def open(self) -> bytes:
        """Open the file of an earlier import, or a new one; return its marks, which may be wrong.

        :raises MirrorError: if another process keeps the file locked.
        """
        count = len(self._pieces.digests)
        self._descriptor = self._directory.create_file(self._name, self._ownership, keep=True)
        self._lock()
        with explained("read", self._directory.join(self._name)):
            found = os.pread(self._descriptor, _LINE + count + 1, 0)
        if found:
            # The lock makes neighbours believe the marks, so the line must not be valid before publish() replaces the
            # marks by verified ones. The marks themselves stay, for the run after a second kill.
            with explained("write", self._directory.join(self._name)):
                os.pwrite(self._descriptor, b" " * _LINE, 0)
        fits = len(found) == _LINE + count
        return found[_LINE:] if fits else bytes([MISSING]) * count

    def publish(self, models: Sequence[str], marks: bytes) -> None:
        """Write the line about this import, and verified marks."""
        line = {
            "importer": self.importer,
            "size": self._pieces.size,
            "piece_size": self._pieces.piece_size,
            "models": list(models),
        }
        text = json.dumps(line).encode("ascii")
        if len(text) >= _LINE:
            text = json.dumps({**line, "models": list(models)[:1]}).encode("ascii")
        with explained("write", self._directory.join(self._name)):
            os.pwrite(self._descriptor, text.ljust(_LINE - 1) + b"\n" + marks, 0)
            os.ftruncate(self._descriptor, _LINE + len(marks))

    def set(self, number: int, mark: int) -> None:
        """Mark a piece."""
        with contextlib.suppress(OSError):  # then neighbours only miss this piece; on a full disk, the blob fails too
            os.pwrite(self._descriptor, bytes([mark]), _LINE + number)

    def close(self) -> None:
        """Close the file, which releases the lock: readers ignore its marks from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def remove(self) -> None:
        """Remove the file."""
        self.close()
        self._directory.remove(self._name)

    def _lock(self) -> None:
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    raise MirrorError(
                        f"Another process keeps {self._directory.join(self._name)} locked",
                        remedy="End the process that holds it (lslocks shows it), and run again",
                    ) from error
                time.sleep(0.05)
            except OSError:
                # The locks of some network file systems do not work. Then readers ignore the marks.
                return


def read_marks(directory: Optional[Directory], stem: str) -> Optional[SharedMarks]:
    """Return the marks of a running import of this node; ``None`` if there is none.

    :raises DirectoryError: if the directory or the file cannot be read.
    """
    descriptor = directory.open_file(marks_name(stem)) if directory else None
    if descriptor is None:
        return None
    try:
        if _is_abandoned(descriptor):
            return None
        content = os.pread(descriptor, _LINE + MOST_PIECES + 1, 0)
        line = read_json(content[:_LINE])
        return SharedMarks(
            str(line["importer"])[:32],
            int(line["size"]),
            max(1, int(line["piece_size"])),
            tuple(str(name) for name in line["models"]),
            content[_LINE:],
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None  # the import is just writing the file
    finally:
        os.close(descriptor)


def _is_abandoned(descriptor: int) -> bool:
    """Return whether no import holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
