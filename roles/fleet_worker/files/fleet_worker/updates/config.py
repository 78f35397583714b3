# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the updates unit, in a separate file: the allowed models, the mirror and the store."""

from __future__ import annotations

import socket
from typing import Any, Literal, Optional

from pydantic import Field, field_validator, model_validator

from .._fleet.broadcasts import EXCHANGE, queue_of
from .._fleet.trust import REPLY_QUEUES
from .._mirror.peers.settings import neighbour_options
from .._mirror.s3.settings import S3Settings
from .._mirror.signing.keys import KeyRing
from .._mirror.signing.policy import ENFORCE, OFF, SignaturePolicy, SignatureRule
from .._mirror.transfer.options import TransferOptions
from .._ollama.store import StoreSettings
from ..settings import credentials
from ..settings.config import Pattern
from ..settings.sections import (
    BrokerConfig,
    CredentialName,
    LogConfig,
    Name,
    Section,
    checked,
    content_of,
    or_value_error,
)
from .admission import BroadcastAdmission
from .broadcast_record import BroadcastRecord


class MirrorConfig(Section):
    """The mirror with the models. Keys are credentials of systemd; without them, the SDK searches for its own."""

    bucket: Name
    prefix: Name = "ollama/models"
    endpoint_url: Optional[Name] = None
    region: Optional[Name] = None
    access_key_credential: Optional[CredentialName] = None
    secret_key_credential: Optional[CredentialName] = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    validate_: bool = Field(default=True, alias="validate")
    ca_path: Optional[str] = None

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint_has_no_login(cls, value: Optional[str]) -> Optional[str]:
        # All users of the node can read this file.
        if value is not None and "@" in value:
            raise ValueError("it has a user or a password; use access_key_credential and secret_key_credential")
        return value


class PeersConfig(Section):
    """Other nodes that may have the blobs. Secret and key are credentials of systemd."""

    addresses: list[Name] = Field(min_length=1)
    secret_credential: CredentialName
    #: Bytes a second, from peers and mirror together.
    max_bandwidth: Optional[int] = Field(default=None, ge=1)
    ca_path: Optional[str] = None
    client_cert: Optional[str] = None
    client_key_credential: Optional[CredentialName] = None


class SignatureRuleConfig(Section):
    """Another policy for some models."""

    models: Pattern
    policy: Literal["off", "warn", "enforce"]


class SignaturesConfig(Section):
    """The policy for signatures, as in the modules of the mirror. No broadcast can allow a rollback."""

    policy: Literal["off", "warn", "enforce"] = "off"
    rules: list[SignatureRuleConfig] = []
    #: Public keys in PEM, which need the package cryptography.
    keys: list[str] = []

    @model_validator(mode="after")
    def _keys_are_there(self) -> SignaturesConfig:
        or_value_error(lambda: _policy(self))
        return self


def _policy(signatures: SignaturesConfig) -> SignaturePolicy:
    rules = tuple(SignatureRule(rule.models, rule.policy) for rule in signatures.rules)
    return SignaturePolicy.parse(signatures.policy, rules, signatures.keys)


class BroadcastsConfig(Section):
    """Which broadcasts are carried out: all, or those that are signed, valid and not repetitions."""

    #: Public keys in PEM, which need the package cryptography.
    keys: list[str] = []
    #: The default is ``enforce`` with keys, and ``off`` without.
    policy: Optional[Literal["off", "warn", "enforce"]] = None
    #: The file with the broadcasts that were taken, in a directory of this service alone.
    record: Optional[str] = Field(default=None, pattern=r"^/")

    @model_validator(mode="after")
    def _signatures_can_be_checked(self) -> BroadcastsConfig:
        or_value_error(lambda: self.ring)
        if self.mode != OFF and not (self.keys and self.record):
            raise ValueError("the policy checks signatures, and needs keys and record; set both, or set policy to off")
        return self

    @property
    def mode(self) -> str:
        """The policy for broadcasts without a valid signature: ``off``, ``warn`` or ``enforce``."""
        return self.policy or (ENFORCE if self.keys else OFF)

    @property
    def ring(self) -> KeyRing:
        """The keys. If nothing is checked, they are not read, because that needs the package cryptography."""
        return KeyRing(self.keys if self.mode != OFF else ())


class UpdatesConfig(Section):
    """The whole file."""

    node: Name = Field(default_factory=socket.gethostname)
    broker: BrokerConfig
    exchange: Name = EXCHANGE
    mirror: MirrorConfig
    peers: Optional[PeersConfig] = None
    signatures: SignaturesConfig = SignaturesConfig()
    broadcasts: BroadcastsConfig = BroadcastsConfig()
    #: The store of the Ollama of this node.
    models_path: str = Field(pattern=r"^/")
    #: Patterns of the allowed model names (_ollama/patterns.py). There is no default, so that nothing is allowed by
    #: chance.
    models: list[Pattern] = Field(min_length=1)
    reply_queues: list[Name] = Field(default=list(REPLY_QUEUES), min_length=1)
    log: LogConfig = LogConfig()

    @field_validator("node")
    @classmethod
    def _node_has_a_queue(cls, value: str) -> str:
        or_value_error(lambda: queue_of(value))
        return value


def load(path: str) -> UpdatesConfig:
    """Read the file.

    :raises ConfigError: if the file cannot be read or is invalid.
    """
    return checked(UpdatesConfig, content_of(path))


def mirror_settings(config: UpdatesConfig) -> S3Settings:
    """Return the connection settings of the mirror.

    :raises CredentialError: if a secret is missing.
    """
    mirror = config.mirror
    keys: dict[str, Any] = {}
    if mirror.access_key_credential and mirror.secret_key_credential:
        keys = {
            "access_key": credentials.read(mirror.access_key_credential),
            "secret_key": credentials.read(mirror.secret_key_credential),
        }
    return S3Settings(
        bucket=mirror.bucket,
        prefix=mirror.prefix,
        endpoint_url=mirror.endpoint_url,
        region=mirror.region,
        addressing_style=mirror.addressing_style,
        validate_certs=mirror.validate_,
        ca_path=mirror.ca_path,
        **keys,
    )


def signature_policy(config: UpdatesConfig) -> SignaturePolicy:
    """Return the policy for signatures."""
    return _policy(config.signatures)


def broadcast_admission(config: UpdatesConfig) -> BroadcastAdmission:
    """Return the admission of broadcasts."""
    broadcasts = config.broadcasts
    record = BroadcastRecord(broadcasts.record) if broadcasts.mode != OFF and broadcasts.record else None
    return BroadcastAdmission(config.node, broadcasts.mode, broadcasts.ring, record)


def store_settings(config: UpdatesConfig) -> StoreSettings:
    """Return the settings of the store."""
    return StoreSettings(config.models_path)


def transfer_options(config: UpdatesConfig) -> Optional[TransferOptions]:
    """Return the settings of transfers; ``None`` if the node imports only from the mirror.

    :raises CredentialError: if a secret is missing.
    :raises CollectionError: if the settings of the peers are wrong.
    """
    peers = config.peers
    if peers is None:
        return None
    key = peers.client_key_credential
    return TransferOptions(
        max_bandwidth=peers.max_bandwidth,
        neighbours=neighbour_options(
            peers.addresses,
            credentials.read(peers.secret_credential),
            peers.ca_path,
            peers.client_cert,
            str(credentials.path_of(key)) if key else None,
        ),
    )
