# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for systemd's file descriptor store."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from fleet_gateway.runtime import descriptor_store

#: The first descriptor of the stand-in: 3 is taken in the process of the tests.
FIRST = 900


class Systemd:
    """Keeps the descriptors that a service stores, and passes them to the next one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(directory / "notify"))
        self._channel.setblocking(False)
        self.kept: dict[str, list[int]] = {}
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        monkeypatch.setattr(descriptor_store, "FIRST", FIRST)

    def read(self) -> None:
        """Do what the service has asked for."""
        while True:
            try:
                content, descriptors, _flags, _address = socket.recv_fds(self._channel, 4096, 4)
            except BlockingIOError:
                return
            fields = dict(line.split("=") for line in content.decode().splitlines())
            if "FDSTORE" in fields:
                self.kept.setdefault(fields["FDNAME"], []).extend(descriptors)
            else:
                self.forget(fields["FDNAME"])

    def forget(self, name: str) -> None:
        for descriptor in self.kept.pop(name, []):
            os.close(descriptor)

    def start_next(self, **environment: str) -> None:
        """Pass everything to the next process, which is this one."""
        self.read()
        named = [(name, descriptor) for name, descriptors in self.kept.items() for descriptor in descriptors]
        for number, (_name, descriptor) in enumerate(named):
            os.dup2(descriptor, FIRST + number)
        passed = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(named)),
            "LISTEN_FDNAMES": ":".join(name for name, _descriptor in named),
            **environment,
        }
        for name, value in passed.items():
            self._monkeypatch.setenv(name, value)

    def close(self) -> None:
        for name in list(self.kept):
            self.forget(name)
        self._channel.close()
