# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications to systemd (sd_notify(3)): one datagram for each, to the socket that systemd names.

Nobody waits here. A datagram that finds no room in the queue of the socket is kept, and sent with the next one;
of each kind only the latest is kept.
"""

from __future__ import annotations

import os
import socket
from typing import Optional

from .._ollama.text import printable

#: Characters of the line that ``systemctl status`` shows.
MAX_STATUS = 1000


class Notifier:
    """Sends the state of the service to systemd; does nothing without a notification socket."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None
        self._status = ""
        #: Messages that could not be sent, by their kind.
        self._unsent: dict[str, str] = {}

    @property
    def watchdog_interval(self) -> Optional[float]:
        """Seconds within which systemd expects the next sign of life; None when it expects none."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        process = os.environ.get("WATCHDOG_PID", str(os.getpid()))
        return int(microseconds) / 1e6 if microseconds.isdigit() and process == str(os.getpid()) else None

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Ask for that much time from now on, to start or to stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def resend(self) -> None:
        """Send the messages that the socket had no room for."""
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
