# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket that clients connect to. The gateway hands the socket to its successor, so that a restart refuses nobody.

systemd keeps a copy. While one gateway drains and the next one starts, the kernel completes connections, and they wait
in the socket's backlog for the next gateway.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import time

from ..runtime import descriptor_store
from ..settings.config import Config

#: Connections that wait to be accepted.
BACKLOG = 1024

#: Seconds for which new connections wait for the next gateway while this one drains. In a longer drain they are
#: refused, so that a client or a load balancer turns to another gateway.
HANDOVER = 10.0

#: Seconds for systemd to close a copy of a socket that this gateway does not want.
_RELEASE = 2.0
_PAUSE = 0.05


class CannotListenError(Exception):
    """The address is in use, or does not belong to this machine."""


def open_listener(config: Config) -> socket.socket:
    """Return a socket that listens at the configured address: that of the gateway before, or a new one.

    :raises CannotListenError: if no socket can listen there.
    """
    passed = descriptor_store.passed_listeners()
    kept = passed.pop(_name(config), None)
    for name, other in passed.items():
        other.close()
        descriptor_store.forget(name)
    if kept is not None:
        return kept
    made = _new_listener(config, time.monotonic() + (_RELEASE if passed else 0.0))
    descriptor_store.keep(_name(config), made)
    return made


def end_handover(config: Config) -> None:
    """Have new connections refused from now on, once this process has closed its own socket."""
    descriptor_store.forget(_name(config))


def _name(config: Config) -> str:
    """Return the name of the socket in the store, which has few allowed characters."""
    return "listen-" + hashlib.sha256(config.listen.encode()).hexdigest()[:16]


def _new_listener(config: Config, until: float) -> socket.socket:
    host, port = config.address
    both = host == "::" and socket.has_dualstack_ipv6()
    while True:
        try:
            made = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=both,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(_PAUSE)
                continue
            raise CannotListenError(
                f"Nothing can listen at {config.listen}: {error}; end what listens there, or change listen"
            ) from error
        # Accepted connections inherit this option; asyncio sets it only for sockets that asyncio has created. Without
        # the option, the body of an answer waits 40 ms for the client's acknowledgement of the head.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
