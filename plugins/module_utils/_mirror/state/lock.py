# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The lock that an importer holds while it changes a store, so that only one importer works at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from ..._ollama.safe_fs import Directory, Ownership, UnsafePathError, explained
from .claims import busy, claimed

_FILE = "lock"

_CLAIM = "importer"

#: Errors of a file system without locks, such as NFS without a lock daemon.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

#: Seconds to wait for the holder's process number. The holder writes it right after it has taken the lock.
_SAYS_WITHIN = 1.0

#: The longest wait for a holder in seconds. An import of a few models takes less, and a stalled import gives up much
#: earlier. But any process that may write to the store can take the lock and keep it.
WAIT_WITHIN = 6 * 3600.0

#: The longest pause between two tries in seconds.
_PAUSE = 0.5


@dataclass(frozen=True)
class LockWait:
    """Settings of the wait while another process holds the lock of the store.

    :param on_wait: receives a message before the wait and a message after it, as :func:`exclusive` describes.
    :param within: the longest wait in seconds.
    """

    on_wait: Callable[[str], None] = lambda _message: None
    within: float = WAIT_WITHIN


@contextlib.contextmanager
def exclusive(
    directory: Directory, ownership: Ownership, on_wait: Callable[[str], None], *, within: float = WAIT_WITHIN
) -> Iterator[None]:
    """Hold the lock of a directory; wait while another process holds the lock.

    The system releases the lock when the process ends, however it ends.

    :param on_wait: receives a message before the wait, which names the holder, and a message after it, with its length.
    :param within: the longest wait in seconds.
    :raises StoreBusyError: if another process holds the lock for longer. The message names the process.
    :raises UnsafePathError: if a directory is in the place of the lock.
    """
    path = directory.join(_FILE)
    deadline = time.monotonic() + within
    found = directory.stat(_FILE)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise UnsafePathError(
            f"{path} is a directory, and the lock of the store must be a file there",
            remedy="Remove the directory, which is not part of the store",
            path=path,
        )
    descriptor = directory.create_file(_FILE, ownership, keep=True)
    try:
        with explained("lock", path):
            try:
                _acquire(descriptor, path, on_wait, deadline)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        try:
            # On some file systems, a lock does not exclude other processes, or not those on other hosts.
            with claimed(directory, _CLAIM, ownership, on_wait, deadline=deadline):
                yield
        finally:
            with contextlib.suppress(OSError):  # the next holder must not be reported under this process's number
                os.ftruncate(descriptor, 0)
    finally:
        with contextlib.suppress(OSError):  # some network file systems report a full disk only now
            os.close(descriptor)


def _acquire(descriptor: int, path: str, on_wait: Callable[[str], None], deadline: float) -> None:
    start = time.monotonic()
    holder = ""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not holder:
                holder = _holder(descriptor)
                on_wait(f"Waiting for {holder}, which holds {path}")
        else:
            if holder:
                on_wait(f"Waited {time.monotonic() - start:.0f} s for {holder}, which held {path}")
            return
        now = time.monotonic()
        if now >= deadline:
            raise busy(_with_user(_holder(descriptor)), path, now - start)
        time.sleep(max(0.01, min(_PAUSE, (now - start) / 4, deadline - now)))


def _holder(descriptor: int) -> str:
    """Return the holder of the lock as text for messages; wait a moment for the number of a new holder."""
    deadline = time.monotonic() + _SAYS_WITHIN
    while True:
        # The system reports the holder reliably, but not every system does. Other processes may have changed the file.
        process = _locker(descriptor) or os.pread(descriptor, 20, 0).decode("ascii", "replace")
        if process.isdecimal():
            return f"process {process}"
        if time.monotonic() > deadline:
            return "another process"
        time.sleep(0.01)


def _with_user(holder: str) -> str:
    """Add the user of the holder's process, if the system shows it."""
    number = holder.rpartition(" ")[2]
    with contextlib.suppress(OSError, KeyError):
        return f"{holder} of the user {pwd.getpwuid(os.stat(f'/proc/{number}').st_uid).pw_name}"
    return holder


def _locker(descriptor: int) -> str:
    """Return the number of the process that holds the lock of a file; empty if Linux does not list it."""
    state = os.fstat(descriptor)
    file = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii", errors="replace") as locks:
        for line in locks:
            fields = line.split()
            # "1: FLOCK ADVISORY WRITE 4711 fd:01:131 0 EOF"; a waiting process has an arrow after its number.
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == file and fields[4].isdecimal():
                return fields[4] if fields[4] != "0" else ""
    return ""
