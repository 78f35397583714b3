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

#: Values of ``page``: everybody may see the page, nobody may see the page.
PAGE_OPEN, PAGE_DISABLED = "open", "disabled"

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


class ServerTlsConfig(Section):
    """The certificate of the gateway."""

    cert: str
    key_credential: CredentialName = "tls-key"


class LimitsConfig(Section):
    """Limits that protect the gateway from its clients."""

    #: The most bytes of a request's body. RabbitMQ 4 refuses more than 16 MiB.
    body_bytes: int = Field(default=16 * 1024 * 1024 - 65536, ge=1024, le=512 * 1024 * 1024)
    #: The most bytes of a request's head.
    head_bytes: int = Field(default=65536, ge=1024, le=1024 * 1024)
    #: The most seconds for the head of a request, and then for its body.
    head_seconds: float = Field(default=15, gt=0, le=3600)
    body_seconds: float = Field(default=60, gt=0, le=3600)
    #: The most connections at a time.
    connections: int = Field(default=2000, ge=1, le=100_000)
    #: The most bytes of an answer that wait for a client that does not read, and the most seconds without a read.
    #: Larger answers wait for a slow client, as long as all answers together have at most 32 times as many bytes.
    unread_bytes: int = Field(default=8 * 1024 * 1024, ge=65536, le=512 * 1024 * 1024)
    unread_seconds: float = Field(default=60, gt=0, le=3600)
    #: The most requests that wait for one lane.
    waiting: int = Field(default=1000, ge=1, le=100_000)


class ConversationsConfig(Section):
    """Whether and how a conversation stays on the node that has its beginning in memory."""

    stay: bool = True
    #: Seconds for which a turn waits for its node before any node may take the turn.
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
    #: The file with the keys; null if clients need no key.
    keys_file: Optional[str] = Field(default=None, pattern=r"^/")
    #: The folder for the usage of each key.
    state_directory: str = Field(default="/var/lib/fleet-gateway", pattern=r"^/")
    #: The most seconds of a request, from its first byte.
    deadline: float = Field(default=280, gt=0, le=86400)
    #: Seconds without an announcement after which a node counts as gone. Nodes announce their lanes every 30 s.
    node_timeout: float = Field(default=75, gt=0, le=3600)
    #: The most seconds for running requests after SIGTERM; the unit's TimeoutStopSec must be longer.
    drain_timeout: float = Field(default=300, gt=0, le=86400)
    #: Origins of web pages that may use the gateway from a browser.
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]] = []
    #: For a gateway without keys: further names of this host that clients may use.
    allowed_hosts: list[Name] = []
    #: Whether other machines may read ``/metrics`` and ``/status``.
    open_metrics: bool = False
    #: Who may see the page at ``/``. The page shows requests and names of keys only to viewers with a key.
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
        """The host and port of ``listen``."""
        host, _colon, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        host = self.address[0]
        return host in ("::1", "localhost") or host.startswith("127.")


def load(path: str) -> Config:
    """Read the file.

    :raises ConfigError: if the file cannot be read or is wrong.
    """
    return checked(Config, content_of(path))
