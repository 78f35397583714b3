# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No two workers of a machine serve one Ollama: each would fill all the slots that it is thought to have.

The claim is an abstract Unix socket (unix(7)): it needs no directory that all users may write to, and is gone with the
process, however that ends.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

from ._ollama.errors import CollectionError
from ._ollama.hosts import parse_host


class AlreadyServedError(CollectionError):
    """Another worker of this machine serves the same Ollama."""

    code = "already_served"


def claim(host: str) -> socket.socket:
    """Claim an Ollama for as long as the socket is not closed.

    :param host: its address, in any form of ``OLLAMA_HOST``.
    :raises AlreadyServedError: when another process has claimed it.
    """
    parts = urlsplit(parse_host(host).url)
    name = "localhost" if _is_loopback(parts.hostname or "") else parts.hostname
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # 107 bytes are all that a name can have.
        held.bind(f"\0legionio-fleet-worker/{name}:{parts.port}{parts.path}"[:100])
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise AlreadyServedError(
            f"Another worker on this machine serves the Ollama at {host}",
            remedy="Stop it, or give this one another ollama.host: together they would overload it",
        ) from error
    return held


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
