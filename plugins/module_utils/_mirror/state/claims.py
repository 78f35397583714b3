# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Claims: lock files for file systems on which ``flock`` does not exclude other processes.

``flock`` succeeds for every process on Lustre, GPFS and some NFS mounts, fails on NFS without a lock daemon, and does
not exclude other hosts if a mount keeps locks local. A claim needs only a file system that lists a file as soon as it
is created. Each process creates its own claim, and continues only if no other living process has a claim. If two
processes begin at the same time, both may withdraw. Both try again after pauses of random length.

A claim names its process. If that process runs on the same machine, the system knows whether it still lives. A process
also updates the time of its claim every few seconds. A process on another host counts as gone after minutes without an
update.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Callable, NamedTuple, Optional

from ..._ollama.safe_fs import Directory, DirectoryError, Ownership, explained
from ..._ollama.text import printable

_ENDING = ".claim"
_TOKEN = 8

#: Seconds between two updates of a claim, and seconds without an update after which a process on another host counts as
#: gone.
_BEAT = 15.0
_GONE_AFTER = 300.0

#: The longest pause between two tries in seconds.
_PAUSE = 2.0

#: The pid namespace of a machine itself, not of a container (Linux, include/linux/proc_ns.h, PROC_PID_INIT_INO).
_OF_THE_MACHINE = "pid:[4026531836]"

#: The largest number of bytes to read from a claim.
_MOST = 1000


class Identity(NamedTuple):
    """The identity of a process, for other processes that share the file system.

    :param boot: changes with each start of the machine; empty if the system does not report it.
    :param namespace: the pid namespace in which the number is valid.
    :param process: the process number.
    :param began: the start time of the process; it distinguishes the process from a later one with the same number.
    """

    host: str
    boot: str
    namespace: str
    process: str
    began: str

    @classmethod
    def own(cls) -> Identity:
        """Return the identity of this process."""
        namespace = ""
        with contextlib.suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")
        number = str(os.getpid())
        return cls(socket.gethostname(), _content("/proc/sys/kernel/random/boot_id"), namespace, number, _began(number))

    @classmethod
    def read(cls, content: bytes) -> Optional[Identity]:
        """Return the identity in a claim; ``None`` if the claim is incomplete or was not written by this collection."""
        fields = content.decode("utf-8", "replace").split("\n")
        return cls(*fields[:5]) if len(fields) == 6 else None

    @property
    def line(self) -> bytes:
        """The content of a claim."""
        return "\n".join((*self, "")).encode()

    def gone(self, me: Identity) -> Optional[bool]:
        """Return whether the process has ended; ``None`` if this machine cannot know it."""
        if not (self.boot and me.boot and self.began and self.process.isdecimal()):
            return None
        if self.boot != me.boot:
            # The same machine has restarted, which ended all its processes.
            restarted = self.host == me.host and self.namespace == me.namespace == _OF_THE_MACHINE
            return True if restarted else None
        if self.namespace != me.namespace:
            return None
        began = _began(self.process)
        if began:
            return began != self.began
        # /proc may hide the processes of other users (hidepid), so a process that it lacks may live.
        return None if _exists(int(self.process)) else True


class StoreBusyError(DirectoryError):
    """Another process has held a store for longer than this process waits."""

    code = "store_busy"


def busy(holder: str, path: str, seconds: float) -> StoreBusyError:
    """Return the error for a lock or a claim that another process holds for too long.

    :param holder: the process, such as ``process 4711``.
    :param seconds: how long this process has waited.
    """
    return StoreBusyError(
        f"After {seconds:.0f} s {path} is still held by {holder}",
        remedy="End the process if it hangs; otherwise run again when it has ended. ollama_s3_import waits for as long"
        " as lock_timeout says",
        path=path,
    )


@contextlib.contextmanager
def claimed(
    directory: Directory,
    stem: str,
    ownership: Ownership,
    on_wait: Callable[[str], None],
    *,
    deadline: float = math.inf,
) -> Iterator[None]:
    """Hold a claim; wait while another process holds a claim with the same stem.

    :param stem: the beginning of the claims' file names.
    :param on_wait: called with a message before the wait (who holds a claim), and after the wait (how long it took).
    :param deadline: when to stop waiting, on the monotonic clock.
    :raises StoreBusyError: if another process still holds a claim at the deadline.
    """
    me = Identity.own()
    begun, holder = time.monotonic(), ""
    while True:
        name = f"{stem}.{secrets.token_hex(_TOKEN)}{_ENDING}"
        descriptor = directory.create_file(name, ownership)
        try:
            with explained("write", directory.join(name)):
                os.write(descriptor, me.line)
            other = _other(directory, stem, name, me)
            if other is None:
                if holder:
                    on_wait(f"Waited {time.monotonic() - begun:.0f} s for {holder}, which held {directory.join(stem)}")
                with _beating(descriptor):
                    yield
                return
        finally:
            with contextlib.suppress(DirectoryError):
                directory.remove(name)
            with contextlib.suppress(OSError):  # some network file systems report a full disk only now
                os.close(descriptor)
        if not holder:
            holder = other
            on_wait(f"Waiting for {holder}, which holds {directory.join(stem)}")
        if time.monotonic() >= deadline:
            raise busy(str(other), directory.join(stem), time.monotonic() - begun)
        time.sleep(random.uniform(0, _PAUSE))  # noqa: S311


def _other(directory: Directory, stem: str, mine: str, me: Identity) -> Optional[str]:
    """Return the other process that holds a claim with the same stem, as text for messages; ``None`` if there is none.

    The claims of processes that are gone are removed.
    """
    now = directory.stat(mine)
    for name in directory.names():
        if name == mine or len(name) != len(mine) or not (name.startswith(f"{stem}.") and name.endswith(_ENDING)):
            continue
        state, owner = directory.stat(name), _owner(directory, name)
        if state is None:
            continue
        gone = owner.gone(me) if owner else None
        if gone is None and now is not None:
            # The file system's clock sets both times.
            gone = abs(now.st_mtime - state.st_mtime) > _GONE_AFTER
        if not gone:
            return f"process {printable(owner.process)} on {printable(owner.host)}" if owner else "another process"
        # Names of claims are random and never used again, so this cannot remove a newer claim.
        with contextlib.suppress(DirectoryError):  # another user's claim cannot be removed, and is ignored too
            directory.remove(name)
    return None


def _owner(directory: Directory, name: str) -> Optional[Identity]:
    """Return the holder of a claim; ``None`` if the claim does not name it or cannot be read."""
    with contextlib.suppress(DirectoryError):
        return Identity.read(directory.read(name, _MOST) or b"")
    return None


@contextlib.contextmanager
def _beating(descriptor: int) -> Iterator[None]:
    """Update the time of a claim every few seconds, to show other processes that this process lives."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with contextlib.suppress(OSError):  # somebody may have removed the file by hand
                os.utime(descriptor)

    thread = threading.Thread(target=beat, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _began(process: str) -> str:
    """Return the start time of a process of this machine, in clock ticks since boot.

    The text is empty without such a process, and if /proc hides the process.
    """
    # The command name may contain any character, and ends at the last parenthesis (proc(5)).
    fields = _content(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _exists(process: int) -> bool:
    """Return whether this machine may have a process with a number, also one that /proc hides."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's process
        return True
    return True


def _content(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
