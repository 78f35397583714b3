# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications to systemd (sd_notify(3)): one datagram for each, to the socket that systemd names.

Nothing here waits. If the queue of the socket is full, the notifier keeps the datagram, and sends it with the next one.
It keeps only the latest datagram of each kind.
"""

from __future__ import annotations

import os
import socket
from typing import Optional

from .._ollama.text import printable

#: The most characters of the line that ``systemctl status`` shows.
MAX_STATUS = 1000


def notification_address() -> str:
    """Return the address of the notification socket; empty without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    return "\0" + address[1:] if address.startswith("@") else address


class Notifier:
    """Sends the state of the service to systemd; does nothing without a notification socket."""

    def __init__(self) -> None:
        self._address = notification_address()
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if self._address else None
        )
        self._status = ""
        #: The kept messages by kind.
        self._unsent: dict[str, str] = {}

    @property
    def watchdog_interval(self) -> Optional[float]:
        """The seconds within which systemd expects the next notification; None if the unit has no watchdog."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        process = os.environ.get("WATCHDOG_PID", str(os.getpid()))
        return int(microseconds) / 1e6 if microseconds.isdigit() and process == str(os.getpid()) else None

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the service ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Extend the timeout of the start or the stop by some seconds from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def resend(self) -> None:
        """Send the kept messages."""
        try:
            while self._unsent and self._socket is not None:
                kind, message = next(iter(self._unsent.items()))
                self._socket.sendto(message.encode(), self._address)
                del self._unsent[kind]
        except OSError:
            pass  # systemd is busy, or restarts itself

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + printable(" ".join(text.split()), MAX_STATUS))

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        kind = message.partition("=")[0]
        self._unsent.pop(kind, None)
        self._unsent[kind] = message
        self.resend()
