# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's file descriptor store: open sockets that outlive the process (sd_notify(3), FDSTORE; sd_listen_fds(3)).

systemd keeps a copy of a stored socket while the service restarts, and passes it to the next process. The unit needs
``FileDescriptorStoreMax``.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from .systemd import notification_address

#: The number of the first descriptor that systemd passes (SD_LISTEN_FDS_START).
FIRST = 3


def passed_listeners() -> dict[str, socket.socket]:
    """Return the listening sockets that systemd has passed to this process, by their names in the store.

    The second call returns none: descriptors belong to one owner.
    """
    process, number, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if process != str(os.getpid()) or not number.isdigit():
        return {}
    found: dict[str, socket.socket] = {}
    for descriptor, name in zip(range(FIRST, FIRST + int(number)), names.split(":")):
        try:
            passed = socket.socket(fileno=descriptor)
        except OSError:
            continue  # no socket
        passed.set_inheritable(False)
        if name in found or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            passed.close()
        else:
            found[name] = passed
    return found


def keep(name: str, kept: socket.socket) -> None:
    """Have systemd keep a copy of a socket under a name; does nothing without a notification socket."""
    _send(f"FDSTORE=1\nFDNAME={name}", kept.fileno())


def forget(name: str) -> None:
    """Have systemd close its copies of the sockets of that name."""
    _send(f"FDSTOREREMOVE=1\nFDNAME={name}")


def _send(message: str, *descriptors: int) -> None:
    address = notification_address()
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        # Without the copy the gateway works, and a restart refuses connections for a moment.
        with suppress(OSError):
            channel.connect(address)
            socket.send_fds(channel, [message.encode()], descriptors)
