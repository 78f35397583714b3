# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: one YAML file, checked as a whole. Errors name the key and the remedy.

The file has no secrets. A key that ends in ``_credential`` names a file in ``$CREDENTIALS_DIRECTORY``, where systemd
puts the files of ``LoadCredential=``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Optional, Union

from pydantic import (
    AfterValidator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from .._fleet.lanes import NODE, Lane, check_collisions, lane, shared_key
from .._fleet.tokens import AUDIENCE, ISSUER
from .._fleet.trust import REPLY_QUEUES
from .._ollama.errors import CollectionError
from .._ollama.header_fields import check_header
from .._ollama.hosts import parse_host
from .._ollama.names import ModelName
from .._ollama.option_ranges import RANGED
from .._ollama.options import keep_alive
from .._ollama.patterns import NamePattern
from ..domain.lane_rule import STARVATION
from ..domain.lane_terms import LaneTerms
from .sections import BrokerConfig, CredentialName, LogConfig, Name, Section, checked, content_of, or_value_error

DEFAULT_PATH = "/etc/legionio/fleet-worker.yml"


def _pattern(value: str) -> str:
    or_value_error(lambda: NamePattern.parse(value))
    return value


#: A pattern of model names.
Pattern = Annotated[Name, AfterValidator(_pattern)]


class OllamaConfig(Section):
    """The Ollama server that answers the requests of this worker."""

    host: str = "http://127.0.0.1:11434"
    #: Seconds.
    connect_timeout: float = Field(default=10, gt=0, le=300)
    headers: dict[str, str] = {}
    #: A credential with secret headers, one ``Name: value`` a line.
    headers_credential: Optional[CredentialName] = None
    #: Whether to refuse the start if another worker on this machine uses this Ollama: both would fill its slots.
    exclusive: bool = True
    #: Seconds between two checks of an Ollama that answers, and so the delay until the worker notices a changed model.
    interval: float = Field(default=15, ge=0.1, le=3600)
    #: Seconds for which a request waits for an Ollama that is down. Afterwards another node gets the request, or the
    #: requester gets an error.
    patience: float = Field(default=30, ge=0, le=3600)

    @field_validator("host")
    @classmethod
    def _host_is_readable(cls, value: str) -> str:
        or_value_error(lambda: parse_host(value))
        return value

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            or_value_error(lambda name=name, text=text: check_header(name, text))
        return value


KeepAlive = Union[StrictInt, Annotated[StrictFloat, Field(allow_inf_nan=False)], StrictStr, None]
Range = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)]


class LaneDefaultsConfig(Section):
    """The settings of a lane for its requests."""

    #: How long Ollama keeps the model after each request (``10m``, -1 for ever). None leaves the choice to the
    #: requester, from five minutes to an hour.
    keep_alive: KeepAlive = None
    #: The least and the largest value of options whose usual range does not fit: ``{"num_predict": [1, 4096]}``.
    option_ranges: dict[str, Range] = {}

    @field_validator("keep_alive")
    @classmethod
    def _keep_alive_is_a_time(cls, value: KeepAlive) -> KeepAlive:
        kept: KeepAlive = or_value_error(lambda: keep_alive(value))
        return kept

    @field_validator("option_ranges")
    @classmethod
    def _options_have_ranges(cls, value: dict[str, list[float]]) -> dict[str, list[float]]:
        for name, (least, most) in value.items():
            if name not in RANGED:
                raise ValueError(f"{name} is not an option with a range; choose of {', '.join(sorted(RANGED))}")
            if least > most:
                raise ValueError(
                    f"the range of {name} begins with {least:g}, above its end; write the smaller one first"
                )
        return value

    @property
    def terms(self) -> LaneTerms:
        ranges = tuple((name, least, most) for name, (least, most) in sorted(self.option_ranges.items()))
        return LaneTerms(self.keep_alive, ranges)


class LaneConfig(LaneDefaultsConfig):
    """One lane."""

    type: Literal["chat", "generate", "embed"]
    model: Name
    style: Literal["model", "shared", "offering"] = "model"
    #: Tokens.
    context_window: Optional[int] = Field(default=None, ge=1)
    #: The most seconds of a request; the default depends on the style.
    deadline: Optional[float] = Field(default=None, gt=0)
    #: The order among the lanes of this node, higher first. By default embeddings are first, because they are short.
    priority: Optional[int] = Field(default=None, ge=-100, le=100)
    #: The order among the nodes, higher first (x-priority of the consumer).
    consumer_priority: Optional[int] = Field(default=None, ge=-(2**31), le=2**31 - 1)
    #: The endings of further routing keys of a shared lane, which LegionIO's newer requesters use: ``ctx32768``, or
    #: ``#`` for any.
    suffixes: list[Name] = []
    #: The instance of an offering lane; None means the node.
    instance: Optional[Name] = None

    @model_validator(mode="after")
    def _instance_has_an_offering(self) -> LaneConfig:
        if self.instance is not None and self.style != "offering":
            raise ValueError("instance is for lanes of style offering alone; remove it, or set style to offering")
        return self


class RegistryConfig(Section):
    """The registry events, which announce the lanes."""

    enabled: bool = True
    #: Whether the worker also publishes the events of protocol version 2.
    version2: bool = False
    #: Seconds between two events of a lane whose state does not change.
    heartbeat_interval: float = Field(default=30, ge=1, le=3600)


class MetricsConfig(Section):
    """The metrics for Prometheus."""

    #: ``host:port``, or null for no metrics. The listener has no encryption and no login.
    listen: Optional[str] = "127.0.0.1:9469"

    @field_validator("listen")
    @classmethod
    def _listen_is_readable(cls, value: Optional[str]) -> Optional[str]:
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", value or "x:1")
        if match is None or not 0 < int(match[1]) < 65536:
            raise ValueError(f"{value!r} is not host:port; write it like 127.0.0.1:9469, or null to turn it off")
        return value


class ProtocolConfig(Section):
    """Requests that state a version of the protocol, which LegionIO's newer requesters send."""

    #: The served versions. A request of another version gets an error in its own format. LegionIO has not settled
    #: version 3.
    versions: list[Literal[2, 3]] = [2]
    #: Patterns of the instance names of this node; ``*`` means any. None means ``default`` and the node.
    instances: Optional[Annotated[list[Name], Field(min_length=1)]] = None
    #: The cluster secret of LegionIO, with which requesters sign their tokens.
    secret_credential: Optional[CredentialName] = None
    #: Whether a request needs a token. None means ``required`` with a secret, and ``ignored`` without.
    tokens: Optional[Literal["ignored", "optional", "required"]] = None
    #: Whether the worker decrypts bodies with the secret, which needs the package cryptography.
    decrypt: bool = False
    #: Issuer and audience of the tokens.
    issuer: Name = ISSUER
    audience: Name = AUDIENCE

    @model_validator(mode="after")
    def _secret_is_there(self) -> ProtocolConfig:
        if self.decrypt and self.secret_credential is None:
            raise ValueError("has decrypt without secret_credential; add it, or set decrypt to false")
        if self.tokens in ("optional", "required") and self.secret_credential is None:
            raise ValueError(f"has tokens: {self.tokens} without secret_credential; add it, or set tokens to ignored")
        return self


class AutoLanesConfig(LaneDefaultsConfig):
    """Lanes made from the models that Ollama has. A lane exists as long as its model."""

    #: Patterns of model names (``llama3*``, ``*:70b``, ``registry.example.com/*``). A model needs a match in the first
    #: list, and none in the second.
    allow: list[Pattern] = ["*"]
    deny: list[Pattern] = []
    styles: list[Literal["model", "shared", "offering"]] = Field(default=["model"], min_length=1)
    types: list[Literal["chat", "generate", "embed"]] = Field(default=["chat", "generate", "embed"], min_length=1)
    #: As for a listed lane. Only inference lanes of the styles shared and offering have a context window.
    context_window: Optional[int] = Field(default=None, ge=1)
    deadline: Optional[float] = Field(default=None, gt=0)
    priority: Optional[int] = Field(default=None, ge=-100, le=100)
    consumer_priority: Optional[int] = Field(default=None, ge=-(2**31), le=2**31 - 1)
    #: As for a listed lane; only for lanes of the style shared.
    suffixes: list[Name] = []

    @field_validator("suffixes")
    @classmethod
    def _suffixes_are_those_of_requesters(cls, value: list[str]) -> list[str]:
        or_value_error(lambda: lane("chat", "any", style="shared", suffixes=value))
        return value


class BrokenModelConfig(Section):
    """The pauses of lanes whose model Ollama cannot run."""

    #: The number of failures in a row that leads to a probe.
    failures: int = Field(default=3, ge=1, le=1000)
    #: The seconds of the first pause. Each later pause is twice as long, up to ``longest``.
    pause: float = Field(default=30, gt=0, le=3600)
    longest: float = Field(default=600, gt=0, le=86400)


class EmbedBatchConfig(Section):
    """The shared calls of embedding requests that wait together and have equal options."""

    #: The most requests in one call; 1 turns shared calls off.
    count: int = Field(default=32, ge=1, le=512)
    #: The most bytes of the texts in one call.
    bytes: int = Field(default=262144, ge=1024, le=16 * 1024 * 1024)


class Config(Section):
    """The whole file."""

    node: Name = Field(default_factory=socket.gethostname)
    broker: BrokerConfig
    ollama: OllamaConfig = OllamaConfig()
    #: The most requests that run at the same time.
    concurrency: int = Field(default=2, ge=1, le=256)
    #: The same for all lanes of one model together: ``{"llama3:70b": 1}``.
    model_concurrency: dict[Name, Annotated[int, Field(ge=1, le=256)]] = {}
    embed_batch: EmbedBatchConfig = EmbedBatchConfig()
    broken_model: BrokenModelConfig = BrokenModelConfig()
    #: Seconds for which a request that is sent or delivered again gets the same answer.
    duplicate_window: float = Field(default=600, ge=1, le=86400)
    #: Seconds of waiting after which a lane is next in turn, even if requests for the loaded model wait.
    starvation: float = Field(default=STARVATION, gt=0, le=3600)
    #: The most seconds for running requests after SIGTERM; the unit's TimeoutStopSec must be longer.
    drain_timeout: float = Field(default=300, gt=0, le=86400)
    exchanges: list[Name] = Field(default=["llm.request"], min_length=1)
    #: The topic exchange for answers in lex-ollama 0.3.1 (agent), for requesters that have bound a queue to it.
    legacy_reply_exchange: Optional[Name] = None
    #: Patterns of the allowed reply queues.
    reply_queues: list[Name] = Field(default=list(REPLY_QUEUES), min_length=1)
    #: The most bytes of a reply; LegionIO's readers refuse more.
    max_reply_bytes: int = Field(default=1048576, ge=1024, le=512 * 1024 * 1024)
    #: The most bytes of a request's body; RabbitMQ 4 refuses more than 16 MiB.
    max_request_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024)
    #: Whether requesters may set runner options (num_ctx and others), which force Ollama to reload the model.
    allow_runner_options: bool = False
    #: ``auto`` in the file means an empty list and ``auto_lanes`` with its defaults.
    lanes: list[LaneConfig]
    #: The settings of automatic lanes, in addition to the listed lanes.
    auto_lanes: Optional[AutoLanesConfig] = None
    #: Whether each chat and generate lane of the style model has a second lane that only this node serves. Gateways use
    #: these lanes to keep a conversation on its node.
    own_lanes: bool = False
    status_socket: str = Field(default="/run/fleet-worker/status.sock", pattern=r"^/", max_length=100)
    protocol: ProtocolConfig = ProtocolConfig()
    registry: RegistryConfig = RegistryConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="before")
    @classmethod
    def _auto_is_a_short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("lanes") == "auto":
            return {**value, "lanes": [], "auto_lanes": value.get("auto_lanes") or {}}
        return value

    @model_validator(mode="after")
    def _something_is_served(self) -> Config:
        if not self.lanes and self.auto_lanes is None:
            raise ValueError("is empty; list at least one lane, or set lanes to auto")
        return self

    @field_validator("model_concurrency")
    @classmethod
    def _models_are_named(cls, value: dict[str, int]) -> dict[str, int]:
        for name in value:
            or_value_error(lambda name=name: ModelName.parse(name))
        return value

    @field_validator("exchanges")
    @classmethod
    def _exchanges_differ(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("lists an exchange twice; remove one")
        return value

    @model_validator(mode="after")
    def _lanes_make_sense(self) -> Config:
        or_value_error(lambda: check_collisions(entry for entry, _settings in self.lane_table()))
        return self

    def lane_table(self, found: Iterable[LaneConfig] = ()) -> list[tuple[Lane, LaneConfig]]:
        """Return the lanes, each with its settings.

        :param found: further lanes; lanes whose queues are listed already are ignored.
        :raises CollectionError: if a listed lane is invalid.
        """
        table = [(self._lane(entry), entry) for entry in self.lanes]
        listed = list(table)
        queues = {made.queue for made, _entry in table}
        for entry in found:
            try:
                made = self._lane(entry)
            except CollectionError:
                continue  # a model whose name is not a valid part of a queue name
            if made.queue not in queues and not any(
                shared_key(made, other) or shared_key(other, made) for other, _entry in listed
            ):
                queues.add(made.queue)
                table.append((made, entry))
        return [*table, *self._own_lanes(table)] if self.own_lanes else table

    def _own_lanes(self, table: Iterable[tuple[Lane, LaneConfig]]) -> Iterator[tuple[Lane, LaneConfig]]:
        for made, entry in table:
            if made.style != "model" or made.type == "embed":
                continue
            try:
                yield lane(made.type, made.model, style=NODE, node=self.node), entry
            except CollectionError:
                if entry in self.lanes:
                    raise

    def _lane(self, entry: LaneConfig) -> Lane:
        return lane(
            entry.type,
            entry.model,
            style=entry.style,
            context_window=entry.context_window,
            node=entry.instance or self.node,
            suffixes=entry.suffixes,
        )

    @model_validator(mode="after")
    def _deadlines_fit(self) -> Config:
        auto = self.auto_lanes
        examples = (
            [LaneConfig(type="chat", model="any", style=style, deadline=auto.deadline) for style in auto.styles]
            if auto is not None
            else []
        )
        for made, settings in self.lane_table(examples):
            if settings.deadline and made.ack_timeout and settings.deadline > made.ack_timeout - 10:
                raise ValueError(
                    f"the deadline {settings.deadline:g} of {made.queue} is too long: RabbitMQ takes a request back"
                    f" after {made.ack_timeout:g} s; set {made.ack_timeout - 10:g} or less"
                )
        return self


def load(path: str) -> Config:
    """Read the file.

    :raises ConfigError: if the file cannot be read or is invalid.
    """
    return parse(content_of(path))


def parse(content: dict[str, Any]) -> Config:
    """Check a configuration.

    :raises ConfigError: with one line for each problem, ``key: problem; remedy``.
    """
    return checked(Config, content)
