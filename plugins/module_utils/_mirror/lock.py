# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""One at a time: the lock that an importer holds while it changes a store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Callable

from .._ollama.directories import Directory, Ownership, explained
from .claims import claimed

_FILE = "lock"

_CLAIM = "importer"

#: What the system says where locks are not to be had, as on NFS without a lock daemon.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

#: Seconds that the holder has to say who it is, which it does right after it has taken the lock.
_SAYS_WITHIN = 1.0


@contextlib.contextmanager
def exclusive(directory: Directory, ownership: Ownership, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a directory; wait for it as long as another process holds it.

    The system gives it back when the process ends, however it ends.

    :param on_wait: is told once, before the waiting, who holds the lock, and once after it for how long it took.
    """
    path = directory.join(_FILE)
    descriptor = directory.create_file(_FILE, ownership, keep=True)
    try:
        with explained("lock", path):
            try:
                _acquire(descriptor, path, on_wait)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        try:
            # Not every file system's locks keep others out, nor reach the other hosts that share it.
            with claimed(directory, _CLAIM, ownership, on_wait):
                yield
        finally:
            with contextlib.suppress(OSError):  # the next one must not be taken for this one before it says who it is
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: str, on_wait: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        on_wait(f"Waiting for {holder}, which holds {path}")
        start = time.monotonic()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        on_wait(f"Waited {time.monotonic() - start:.0f} s for {holder}, which held {path}")


def _holder(descriptor: int) -> str:
    """Return who holds the lock. It may have taken it this very moment."""
    deadline = time.monotonic() + _SAYS_WITHIN
    while True:
        said = os.pread(descriptor, 20, 0).decode("ascii", "replace")
        if said.isdecimal():
            return f"process {said}"
        if time.monotonic() > deadline:
            return "another process"
        time.sleep(0.01)
