# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No two workers of a machine serve one Ollama: each would fill all the slots that it is thought to have.

A worker writes the address of its Ollama into a file beside its status socket, ``/run/NAME/status.sock.claim``, and
keeps the file locked while it lives. It refuses to start when its own directory, or one beside it, has a locked claim
for the same address. Only root makes directories in ``/run``, and only a service may write into its own, so no other
user of the machine can make a claim. Other users can read the file and take a read lock at most, which does not count.
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

#: Seconds for a worker that has started a moment later to give its claim back, and between two looks.
_YIELDS_WITHIN = 5.0
_LOOK = 0.05

#: struct flock of Linux: type, whence, start, length (0: to the end), process (0 for this kind of lock).
_FLOCK = "hhqqi4x"
#: Bytes of a claim that are read.
_MAX_SIZE = 4096


class AlreadyServedError(CollectionError):
    """Another worker of this machine serves the same Ollama."""

    code = "already_served"


class Claim:
    """The claim of one worker to its Ollama; held until it is closed or the process ends.

    :param host: the address of the Ollama, in any form of ``OLLAMA_HOST``.
    :param path: of the claim, with the suffix :data:`SUFFIX`, in a directory that no other user may write to.
    :raises AlreadyServedError: when another worker has claimed the Ollama.
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
            # Others are looked for after the claim stands: of two workers that start at once, one sees the other.
            rival = self._rival()
        if rival is not None:
            self.close()
            raise AlreadyServedError(
                f"Another worker on this machine serves the Ollama at {host} (its claim is {rival})",
                remedy="Stop it, or give this one another ollama.host: together they would overload it",
            )

    def close(self) -> None:
        """Give the claim back."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _hold(self) -> None:
        """Put a locked file in place.

        The file is always a new one, and nobody else can open it before it is locked: a process that has opened an
        earlier file could hold a read lock on that, and keep it from being locked for writing.

        :raises OSError: when the directory cannot be written.
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
        """Return the claim of another worker that stays, or None.

        An earlier claim stays. A later one may be that of a worker which sees this claim now, and gives its own back;
        when it has not done so in time, it was there first.
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
        """Return the files that may be claims of other workers: in this directory, and in those beside it."""
        directory = self._path.parent
        found = {*directory.glob(f"*{SUFFIX}"), *directory.parent.glob(f"*/*{SUFFIX}")}
        own = self._path.resolve()
        # A directory may be there under a second name, by a link; the claim in it is this worker's own all the same.
        return [path for path in found if path.resolve() != own]


def _held(path: Path) -> Optional[tuple[int, str]]:
    """Return since when a claim stands, and for what; None when it is left over or no claim."""
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
