# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the gateway: one YAML file, checked as a whole."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Literal, Optional

from pydantic import Field, field_validator, model_validator

from .sections import BrokerConfig, CredentialName, LogConfig, Name, Section, checked, content_of

DEFAULT_PATH = "/etc/legionio/fleet-gateway.yml"

#: Values of ``page``: everybody may see the page; nobody may.
PAGE_OPEN, PAGE_DISABLED = "open", "disabled"

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


class ServerTlsConfig(Section):
    """The certificate that clients are shown."""

    cert: str
    key_credential: CredentialName = "tls-key"


class LimitsConfig(Section):
    """What is taken of a client, whoever it is."""

    #: Bytes of the body of a request; RabbitMQ 4 refuses more than 16 MiB itself.
    body_bytes: int = Field(default=16 * 1024 * 1024 - 65536, ge=1024, le=512 * 1024 * 1024)
    #: Bytes of the head of a request.
    head_bytes: int = Field(default=65536, ge=1024, le=1024 * 1024)
    #: Seconds in which a client has to send the head, and then the body, of a request.
    head_seconds: float = Field(default=15, gt=0, le=3600)
    body_seconds: float = Field(default=60, gt=0, le=3600)
    #: Connections at a time.
    connections: int = Field(default=2000, ge=1, le=100_000)
    #: Bytes of an answer that are kept for a client that reads slowly, and seconds for which it may read nothing.
    unread_bytes: int = Field(default=8 * 1024 * 1024, ge=65536, le=512 * 1024 * 1024)
    unread_seconds: float = Field(default=60, gt=0, le=3600)
    #: Requests that wait in front of one lane.
    waiting: int = Field(default=1000, ge=1, le=100_000)


class ConversationsConfig(Section):
    """How a conversation stays on the node that has its beginning in memory."""

    stay: bool = True
    #: Seconds for which a turn waits for its node, before any node may take it.
    wait: float = Field(default=1.0, ge=0.01, le=10)


class Config(Section):
    """The whole file."""

    node: Name = Field(default_factory=socket.gethostname)
    broker: BrokerConfig
    #: The topic exchange that the lanes are bound to.
    exchange: Name = "llm.request"
    #: ``host:port``.
    listen: str = "127.0.0.1:11435"
    tls: Optional[ServerTlsConfig] = None
    #: The file with the keys; null to ask nobody for one.
    keys_file: Optional[str] = Field(default=None, pattern=r"^/")
    #: Where the gateway keeps what it counts.
    state_directory: str = Field(default="/var/lib/fleet-gateway", pattern=r"^/")
    #: Seconds that a request may take, from the moment that it is read.
    deadline: float = Field(default=280, gt=0, le=86400)
    #: Seconds after which a node counts as gone that says nothing. Nodes speak every 30 s.
    node_timeout: float = Field(default=75, gt=0, le=3600)
    #: Seconds in which what is running must end after SIGTERM; the unit's TimeoutStopSec must be longer.
    drain_timeout: float = Field(default=300, gt=0, le=86400)
    #: Addresses of web pages that may use the gateway from a browser; none by default.
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]] = []
    #: Without keys: names of this host that clients may use beside its own and localhost.
    allowed_hosts: list[Name] = []
    #: Whether others than this machine may read ``/metrics``.
    open_metrics: bool = False
    #: Who may see the page at ``/``. Requests, and the names of keys, are never shown without a key.
    page: Literal["with_key", "open", "disabled"] = "with_key"
    limits: LimitsConfig = LimitsConfig()
    conversations: ConversationsConfig = ConversationsConfig()
    log: LogConfig = LogConfig()

    @field_validator("listen")
    @classmethod
    def _listen_is_readable(cls, value: str) -> str:
        match = _ADDRESS.fullmatch(value)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{value!r} is not host:port; write it like 127.0.0.1:11435")
        return value

    @model_validator(mode="after")
    def _strangers_have_keys(self) -> Config:
        if self.keys_file is None and not self.is_loopback:
            raise ValueError(
                f"listen is {self.listen}, which others reach, and there is no keys_file; name a file of keys"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen at."""
        host, _colon, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches the gateway."""
        host = self.address[0]
        return host in ("::1", "localhost") or host.startswith("127.")


def load(path: str) -> Config:
    """Read the file.

    :raises ConfigError: when it cannot be read or is not right.
    """
    return checked(Config, content_of(path))
