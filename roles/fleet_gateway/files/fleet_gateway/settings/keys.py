# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys: a YAML file with the hash and the limits of each key.

A key has 256 random bits, so no dictionary of keys can exist, and one round of SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Annotated, Any, Optional

from pydantic import Field, field_validator, model_validator

from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName
from .._ollama.patterns import NamePattern, matches_any
from .sections import Section, checked, content_of, or_value_error

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

#: The beginning of each key, by which people and secret scanners recognize keys.
PREFIX = "flg_"


class KeyConfig(Section):
    """A key and its limits; ``None`` means no limit."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
    #: ``sha256:`` and 64 hexadecimal digits.
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    #: Patterns of model names.
    models: list[str] = ["*"]
    #: The most concurrent requests, requests a minute, and tokens (input and output) a day in UTC.
    concurrent: Optional[int] = Field(default=None, ge=1)
    per_minute: Optional[int] = Field(default=None, ge=1)
    tokens_per_day: Optional[int] = Field(default=None, ge=1)
    #: The share among waiting keys: twice the weight means twice the requests.
    weight: float = Field(default=1.0, ge=0.01, le=100)
    #: The priority of the key's messages at the broker. RabbitMQ 4 delivers messages above 4 first.
    priority: int = Field(default=0, ge=0, le=9)
    #: Whether the page shows the requests of all keys to this key, and not only its own.
    operator: bool = False
    #: The last day on which the key is valid.
    expires: Optional[date] = None

    @field_validator("models")
    @classmethod
    def _models_are_patterns(cls, value: list[str]) -> list[str]:
        for text in value:
            or_value_error(lambda text=text: NamePattern.parse(text))
        return value

    @field_validator("expires", mode="before")
    @classmethod
    def _expires_on_a_day(cls, value: Any) -> Any:
        if isinstance(value, str) and not _DAY.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is not a day; write a day like 2030-12-31")
        if value is not None and (isinstance(value, datetime) or not isinstance(value, (date, str))):
            raise ValueError("is not a day; write a day like 2030-12-31")
        return value

    def allows(self, model: str) -> bool:
        """Whether the key may use a model."""
        return _allowed(model, tuple(self.models))

    @property
    def is_expired(self) -> bool:
        return self.expires is not None and datetime.now(timezone.utc).date() > self.expires


@lru_cache(maxsize=1024)
def _allowed(model: str, patterns: tuple[str, ...]) -> bool:
    try:
        return matches_any(ModelName.parse(model), patterns, ignore_case=True)
    except InvalidNameError:
        return "*" in patterns  # no node serves such a model, and the error says so


class KeysFile(Section):
    """The whole file."""

    keys: list[KeyConfig] = []

    @model_validator(mode="after")
    def _keys_differ(self) -> KeysFile:
        for field in ("name", "hash"):
            values = [getattr(key, field) for key in self.keys]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"two keys have the {field} {twice[0]}; each key has its own")
        return self


#: The key of every client if there is no file of keys.
ANYBODY = KeyConfig(name="anybody", hash="sha256:" + "0" * 64, operator=True)


def new_key() -> tuple[str, str]:
    """Create a key; return the key and its hash."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return the hash of a key in the format of the file."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class ApiKeys:
    """The keys of a file.

    :raises ConfigError: if the file cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: Optional[tuple[int, ...]] = None
        self._keys: dict[str, KeyConfig] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it has changed, and return whether it has. A wrong file leaves the keys unchanged.

        :raises ConfigError: if the file cannot be used.
        """
        seen = _signature(self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        found = checked(KeysFile, content_of(self._path))
        self._keys = {key.hash: key for key in found.keys}
        return True

    def find(self, key: str) -> Optional[KeyConfig]:
        """Return the entry of a key; ``None`` for an unknown key."""
        return self._keys.get(hash_of(key))

    def __len__(self) -> int:
        return len(self._keys)


def _signature(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    # The time of the last change of the permissions, too: a file that could not be read may be readable now.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
