# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a configuration file that the services of this collection share, and the check of such a file."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, Literal, Optional, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .._fleet.broker import Address
from .._ollama.errors import CollectionError
from .._ollama.text import printable
from . import yaml_document

#: The most bytes of a name. Names are short strings in AMQP 0-9-1.
MAX_NAME = 255


def _short_string(value: str) -> str:
    size = len(value.encode("utf-8"))
    if size > MAX_NAME:
        raise ValueError(f"it has {size} bytes, and AMQP allows {MAX_NAME}; shorten it")
    if not value.isprintable():
        raise ValueError(f"{printable(value)!r} has characters that cannot be shown; remove them")
    return value


CredentialName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$")]
Name = Annotated[str, Field(min_length=1), AfterValidator(_short_string)]
_Kind = TypeVar("_Kind", bound=BaseModel)


class ConfigError(CollectionError):
    """The configuration cannot be used. ``problems`` has one line for each problem."""

    code = "invalid_config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsConfig(Section):
    """The verification of the broker, and the client certificate."""

    ca_path: Optional[str] = None
    client_cert: Optional[str] = None
    client_key_credential: Optional[CredentialName] = None
    validate_: bool = Field(default=True, alias="validate")

    @model_validator(mode="after")
    def _key_has_certificate(self) -> TlsConfig:
        if self.client_key_credential and not self.client_cert:
            raise ValueError("client_key_credential needs client_cert; add the certificate that belongs to the key")
        return self


class BrokerConfig(Section):
    """The addresses of the broker, and the login."""

    addresses: list[str] = Field(min_length=1)
    vhost: Name = "/"
    #: None to log in with the client certificate (SASL EXTERNAL).
    username: Optional[Name] = "fleet-worker"
    password_credential: CredentialName = "broker-password"  # noqa: S105 - the name of a file
    #: Seconds; the broker may ask for less.
    heartbeat: int = Field(default=30, ge=5, le=600)
    tls: Optional[TlsConfig] = None

    @field_validator("addresses")
    @classmethod
    def _addresses_are_readable(cls, value: list[str]) -> list[str]:
        for text in value:
            or_value_error(lambda text=text: Address.parse(text, tls=False))
        return value

    @model_validator(mode="after")
    def _somebody_logs_in(self) -> BrokerConfig:
        if self.username is None and not (self.tls and self.tls.client_cert):
            raise ValueError("has neither a username nor tls.client_cert; set one of them, or nobody can log in")
        return self


class LogConfig(Section):
    """The log, which goes to standard output."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"


def content_of(path: str) -> dict[str, Any]:
    """Return the unchecked content of a configuration file.

    :raises ConfigError: if the file cannot be read.
    """
    try:
        content = yaml_document.read(path)
    except yaml_document.UnreadableError as error:
        raise ConfigError([f"{path}: {printable(error, 1000)}"]) from error
    if not isinstance(content, dict):
        raise ConfigError([f"{path}: is not a mapping; begin with the keys broker and lanes"])
    return content


def checked(kind: type[_Kind], content: dict[str, Any]) -> _Kind:
    """Check a configuration of any kind.

    :raises ConfigError: with one line for each problem.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError([printable(_problem(one), 1000) for one in error.errors(include_url=False)[:100]]) from error
    except Exception as error:  # a value that no check expects
        reason = f"the configuration cannot be checked: {type(error).__name__}: {printable(error)}"
        raise ConfigError([f"{reason}; correct the value that this names"]) from error


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "lanes"  # the only checks of the whole file concern the lanes
    kind, message = error["type"], error["msg"]
    if kind == "missing":
        return f"{key}: is missing; add it"
    if kind == "extra_forbidden":
        return f"{key}: is not a known key; correct its name or remove it"
    if kind == "value_error":
        # A message of this collection, which has a remedy.
        return f"{key}: {message.removeprefix('Value error, ')}"
    return f"{key}: {message[0].lower()}{message[1:]}, and it is {_shown(error['input'])}; correct it"


def _shown(value: Any) -> str:
    text = reprlib.repr(value)  # a bounded text even for a value that aliases have made large
    return text if len(text) <= 60 else text[:57] + "..."


def or_value_error(check: Any) -> Any:
    """Run a check of the shared packages; raise its error as a ValueError for pydantic."""
    try:
        return check()
    except CollectionError as error:
        raise ValueError(f"{error.message}; {error.remedy}" if error.remedy else error.message) from error
