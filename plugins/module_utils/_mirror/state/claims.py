# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Claims: files that keep processes from working at the same time on file systems whose locks do nothing.

``flock`` lets everybody pass on Lustre, GPFS and some NFS mounts, fails on NFS without a lock daemon, and does not
reach other hosts if a mount keeps locks local. A claim needs only a file system that lists a file as soon as it is
created. Each process creates a claim of its own, and may go on only if there is no claim of another living process. If
two processes begin at the same time, both may withdraw; both try again after pauses of different length.

A claim names its process. A process on the same machine is looked up. A process on another host cannot be looked up: it
writes to its claim every few seconds, and counts as gone if it has not done so for minutes.
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

from ..._ollama.safe_fs import Directory, DirectoryError, Ownership
from ..._ollama.text import printable

_ENDING = ".claim"
_TOKEN = 8

#: Seconds between two signs of life, and seconds without one after which a process on another host counts as gone.
_BEAT = 15.0
_GONE_AFTER = 300.0

#: The longest pause between two tries in seconds.
_PAUSE = 2.0

#: The pid namespace of a machine itself, not of a container (Linux, include/linux/proc_ns.h, PROC_PID_INIT_INO).
_OF_THE_MACHINE = "pid:[4026531836]"

#: Bytes of a claim that are read, at most.
_MOST = 1000


class Identity(NamedTuple):
    """The identity of a process, for other processes that share the file system.

    :param boot: changes with each start of the machine; empty if the system does not report it.
    :param namespace: the pid namespace in which the number is valid.
    :param process: the number of the process.
    :param began: when the process began; it distinguishes the process from a later one with the same number.
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
            # A machine runs once at a time.
            restarted = self.host == me.host and self.namespace == me.namespace == _OF_THE_MACHINE
            return True if restarted else None
        return _began(self.process) != self.began if self.namespace == me.namespace else None


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
        remedy="End the process if it is not a running import; otherwise wait for it, or raise lock_timeout",
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
    """Hold a claim; wait for it while another process holds one of the same stem.

    :param stem: what the claims' names begin with.
    :param on_wait: called with a message before the wait (who holds a claim), and after the wait (how long it took).
    :param deadline: until when it waits, on the monotonic clock.
    :raises StoreBusyError: when another process holds a claim until then.
    """
    me = Identity.own()
    begun, holder = time.monotonic(), ""
    while True:
        name = f"{stem}.{secrets.token_hex(_TOKEN)}{_ENDING}"
        descriptor = directory.create_file(name, ownership)
        try:
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
            os.close(descriptor)
        if not holder:
            holder = other
            on_wait(f"Waiting for {holder}, which holds {directory.join(stem)}")
        if time.monotonic() >= deadline:
            raise busy(str(other), directory.join(stem), time.monotonic() - begun)
        time.sleep(random.uniform(0, _PAUSE))  # noqa: S311


def _other(directory: Directory, stem: str, mine: str, me: Identity) -> Optional[str]:
    """Return who else holds a claim of the same stem; remove the claims of processes that are gone."""
    now = directory.stat(mine)
    for name in directory.names():
        if name == mine or len(name) != len(mine) or not (name.startswith(f"{stem}.") and name.endswith(_ENDING)):
            continue
        state, owner = directory.stat(name), _owner(directory, name)
        if state is None:
            continue
        gone = owner.gone(me) if owner else None
        if gone is None and now is not None:
            # Both moments are of the file system's clock.
            gone = abs(now.st_mtime - state.st_mtime) > _GONE_AFTER
        if not gone:
            return f"process {printable(owner.process)} on {printable(owner.host)}" if owner else "another process"
        # Nobody makes a claim of this name again, so that none but the one that was looked at can go.
        with contextlib.suppress(DirectoryError):  # it may be another user's, and still does not count
            directory.remove(name)
    return None


def _owner(directory: Directory, name: str) -> Optional[Identity]:
    """Return who holds a claim; ``None`` when it does not say it, or not to us."""
    with contextlib.suppress(DirectoryError):
        return Identity.read(directory.read(name, _MOST) or b"")
    return None


@contextlib.contextmanager
def _beating(descriptor: int) -> Iterator[None]:
    """Show others every few seconds that this process lives."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with contextlib.suppress(OSError):  # it may have been removed by hand
                os.utime(descriptor)

    thread = threading.Thread(target=beat, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _began(process: str) -> str:
    """Return when a process of this machine began, in ticks since the machine did; empty without such a process."""
    # The name of the command, which may hold anything, ends with the last parenthesis (proc(5)).
    fields = _content(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _content(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
