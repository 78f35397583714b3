# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The address of the server: ``OLLAMA_HOST`` in every form that Ollama's own client accepts.

The rules are those of Ollama v0.32.5 (envconfig/config.go, Host and ConnectableHost):

- Quotes and spaces around the value do not count, and the scheme is optional.
- The default port is 80 or 443 with a scheme and 11434 without one. It replaces an invalid port, too.
- The path is kept.
- An address that only a server can bind to, such as ``0.0.0.0``, becomes loopback.

In addition, ``user:password@`` may precede the host, for reverse proxies.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import unquote

from .api_errors import InvalidServerError

DEFAULT_PORT = "11434"
_SCHEME_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


@dataclass(frozen=True)
class ServerAddress:
    """The address of a server, for connections.

    :ivar url: ``scheme://host:port[/path]``, without credentials and without a slash at the end.
    :ivar authorization: the value of the ``Authorization`` header if the address had credentials.
    """

    scheme: str
    host: str
    port: int
    path: str
    authorization: Optional[str] = field(default=None, repr=False)

    @property
    def url(self) -> str:
        # "%25" introduces the zone of a link-local address in a URL (RFC 6874).
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine. Clients in Go, such as Ollama's, use no proxy for such a server."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def identity(self) -> str:
        """The identity of the server on this machine, the same for all names of the loopback interface."""
        name = "localhost" if self.is_loopback else self.host.lower()
        return f"{name}:{self.port}{self.path}"


def parse_host(text: Optional[str] = None) -> ServerAddress:
    """Read an address; without one, read the environment variable ``OLLAMA_HOST``.

    :raises InvalidServerError: for an invalid address. The message never has credentials.
    """
    value = os.environ.get("OLLAMA_HOST", "") if text is None else text
    value = value.strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest, default_port = ("https", value, "443") if value == "ollama.com" else ("http", value, DEFAULT_PORT)
    else:
        scheme = scheme.lower()
        default_port = _SCHEME_PORTS.get(scheme, "")
    host_port, _slash, path = rest.partition("/")
    credentials, _at, host_port = host_port.rpartition("@")
    if not default_port:
        raise _invalid(host_port, f"the scheme {scheme!r} is neither http nor https")
    host, port = _split_host_port(host_port, default_port)
    path = path.rstrip("/")
    if not _PATH.fullmatch(path):
        raise _invalid(host_port, "its path has characters that no path may have")
    return ServerAddress(
        scheme=scheme,
        host=_connectable(host, host_port),
        port=int(_port_or(port, default_port)),
        path="/" + path if path else "",
        authorization=_basic(credentials) if credentials else None,
    )


def secrets_in(text: str) -> set[str]:
    """Return the password of an address, encoded and decoded, for masking in logs. The address may be invalid."""
    scheme, separator, rest = text.partition("://")
    found = re.fullmatch(r"[^:@/\[]*:(.+)@[^@]*", rest if separator else scheme)
    return {found.group(1), unquote(found.group(1))} if found else set()


def _split_host_port(text: str, default_port: str) -> tuple[str, str]:
    bracketed = re.fullmatch(r"\[([^][]*)\](?::(.*))?", text)
    if bracketed:
        return bracketed.group(1), bracketed.group(2) if bracketed.group(2) is not None else default_port
    if text.count(":") == 1:
        host, _colon, port = text.partition(":")
        return host, port
    return text, default_port  # a bare name, or an IPv6 address without brackets


def _port_or(text: str, default_port: str) -> str:
    if re.fullmatch(r"\+?[0-9]{1,9}", text) and int(text) <= 65535:
        return text
    return default_port  # as Ollama's own client does


def _connectable(host: str, shown: str) -> str:
    if not host:
        return "127.0.0.1"
    bare, percent, zone = host.partition("%")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise _invalid(shown, "its host is neither a name nor an IP address") from None
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return str(address) + percent + zone


def _basic(credentials: str) -> str:
    user, _colon, password = credentials.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def _invalid(shown: str, why: str) -> InvalidServerError:
    return InvalidServerError(
        f"{shown!r} is not the address of an Ollama server: {why}",
        remedy="Write it as [http[s]://]host[:port][/path], for example http://127.0.0.1:11434",
        host=shown,
    )
