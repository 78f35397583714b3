# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock that keeps two workers of a machine from using one Ollama: each would fill all of its slots.

A worker writes the address of its Ollama into a file beside its status socket, ``/run/NAME/status.sock.claim``, and
keeps the file locked. It refuses to start if its own directory, or one beside it, has a locked claim for the same
address. Only root creates directories in ``/run``, and only a service may write into its own directory, so no other
user of the machine can create a claim. Other users can read the file and at most take a read lock, which does not
count.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Optional

from .._ollama.errors import CollectionError
from .._ollama.hosts import parse_host
from ..logs.log import Log

LOG = Log()

SUFFIX = ".claim"

#: The most seconds for a later worker to remove its claim, and the seconds between two checks.
_YIELDS_WITHIN = 5.0
_LOOK = 0.05

#: struct flock of Linux: type, whence, start, length (0: to the end), process (0 for this kind of lock).
_FLOCK = "hhqqi4x"
#: The most bytes of a claim.
_MAX_SIZE = 4096


class AlreadyServedError(CollectionError):
    """Another worker of this machine serves the same Ollama."""

    code = "already_served"


class Claim:
    """The claim of one worker to its Ollama, until :meth:`close` or the end of the process.

    :param host: the address of the Ollama, in any form of ``OLLAMA_HOST``.
    :param path: the path of the claim, with the suffix :data:`SUFFIX`, in a directory that no other user may write to.
    :raises AlreadyServedError: if another worker has claimed the Ollama.
    """

    def __init__(self, host: str, path: Path) -> None:
        self._path = path
        self._descriptor: Optional[int] = None
        self._served = parse_host(host).identity
        self._since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        rival = path if self._is_claimed(path) else None
        if rival is None:
            try:
                self._hold()
            except OSError as error:
                LOG.warning("no_claim", path=str(path), error=str(error))
                return
            # Search for other claims only after writing this one, so that of two simultaneous workers one sees the
            # other.
            rival = self._rival()
        if rival is not None:
            self.close()
            raise AlreadyServedError(
                f"Another worker on this machine serves the Ollama at {host} (its claim is {rival})",
                remedy="Stop the other worker, or set another ollama.host for this worker: "
                "two workers would overload one Ollama",
            )

    def close(self) -> None:
        """Remove the claim."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _hold(self) -> None:
        """Create a locked file.

        The file is always new, and no other process can open it before it is locked. With an earlier file, a process
        could hold a read lock, and so prevent the write lock.

        :raises OSError: if the directory is not writable.
        """
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            partial.unlink()
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, f"{self._since} {self._served}".encode())
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            os.fchmod(descriptor, 0o644)
            partial.rename(self._path)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _rival(self) -> Optional[Path]:
        """Return the claim of another worker that has precedence, or None.

        An earlier claim has precedence. A worker with a later claim sees this claim, and removes its own. If it has not
        done so in time, its claim has precedence.
        """
        deadline = time.monotonic() + _YIELDS_WITHIN
        while True:
            others = {path: _held(path) for path in self._candidates()}
            rivals = {path: held for path, held in others.items() if held is not None and held[1] == self._served}
            if not rivals:
                return None
            first = min(rivals, key=lambda path: (rivals[path], str(path)))
            if (*rivals[first], str(first)) < (self._since, self._served, str(self._path)):
                return first
            if time.monotonic() > deadline:
                return first
            time.sleep(_LOOK)

    def _is_claimed(self, path: Path) -> bool:
        held = _held(path)
        return held is not None and held[1] == self._served

    def _candidates(self) -> list[Path]:
        """Return the files that may be claims of other workers, in this directory and in those beside it."""
        directory = self._path.parent
        found = {*directory.glob(f"*{SUFFIX}"), *directory.parent.glob(f"*/*{SUFFIX}")}
        own = self._path.resolve()
        # A link may give a directory a second name, but the claim in it is still this worker's own.
        return [path for path in found if path.resolve() != own]


def _held(path: Path) -> Optional[tuple[int, str]]:
    """Return the time and the address of a claim; None for an unlocked or invalid file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None  # in a directory such as /run/lock any user could put a claim
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        found = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
        since, space, served = os.read(descriptor, _MAX_SIZE).decode("utf-8", "replace").partition(" ")
        return (int(since), served) if found[0] == fcntl.F_WRLCK and space and since.isdecimal() else None
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
