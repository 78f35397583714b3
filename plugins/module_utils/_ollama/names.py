# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Model names: ``[host/][namespace/]model[:tag]``.

The grammar and the defaults are those of Ollama v0.33 (types/model/name.go). Each part begins with a letter, a digit or
an underscore. These characters and some others may follow:

- host: hyphens, dots and colons; 350 bytes at most
- namespace: hyphens; 80 bytes at most
- model, tag: hyphens and dots; 80 bytes at most

Names are compared in full and with their case, because the keys of a mirror are case-sensitive. Ollama ignores the case
when it looks up a name; :func:`as_present` and :func:`spellings` do the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from .errors import InvalidNameError

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}
_FORM = "[host/][namespace/]model[:tag]"


@dataclass(frozen=True, order=True)
class ModelName:
    """A complete model name. Instances are always valid, and their parts are safe path segments."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        for part, pattern in _PARTS.items():
            value = getattr(self, part)
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise InvalidNameError(
                    f"{value!r} cannot be the {part} of a model name",
                    remedy=f"A name is {_FORM}, each part beginning with a letter, a digit or an underscore",
                    name=value if isinstance(value, str) else repr(value),
                )

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read a name as a person writes it, and fill in the defaults.

        :raises InvalidNameError: when the text is not a model name.
        """
        if not isinstance(text, str) or not text.strip():
            raise InvalidNameError("The name of a model is empty", remedy=f"Write it as {_FORM}", name="")
        rest = text.strip()
        scheme, separator, remainder = rest.partition("://")
        if separator:
            # Ollama accepts a scheme before the host. It concerns the connection to the registry, not the name.
            if scheme not in ("http", "https") or remainder.count("/") < 2:
                raise _unfit(text)
            rest = remainder
        parts = rest.split("/")
        if len(parts) > 3:
            raise _unfit(text)
        model, separator, tag = parts[-1].partition(":")
        if separator and not tag:
            raise _unfit(text)
        namespace = parts[-2] if len(parts) > 1 else DEFAULT_NAMESPACE
        host = parts[-3] if len(parts) > 2 else DEFAULT_HOST
        try:
            return cls(host, namespace, model, tag or DEFAULT_TAG)
        except InvalidNameError as error:
            error.message = f"{text!r} is not a model name: {error.message}"
            error.details["name"] = text
            raise

    @property
    def full(self) -> str:
        """All four parts, as in ``registry.ollama.ai/library/llama3:latest``."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @cached_property
    def key(self) -> str:
        """The full name in lower case: equal for all spellings that Ollama takes for one model."""
        return self.full.lower()

    @property
    def short(self) -> str:
        """The name as Ollama shows it: without default host and namespace, always with the tag."""
        if self.host != DEFAULT_HOST:
            return self.full
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def manifest_parts(self) -> tuple[str, str, str, str]:
        """The path below ``manifests/``, segment by segment."""
        return (self.host, self.namespace, self.model, self.tag)

    def __str__(self) -> str:
        return self.short


def spellings(name: ModelName, present: Iterable[ModelName]) -> list[ModelName]:
    """Return the models whose names differ from this one at most in case. Ollama does not distinguish them."""
    return sorted(other for other in present if other.key == name.key)


def as_present(name: ModelName, present: Collection[ModelName]) -> ModelName:
    """Return the name under which Ollama's own pull would write a model.

    Ollama spells each part as any model of the store spells it (v0.33, server/routes.go, getExistingName). It would not
    find a model with other spellings.
    """
    if name in present:
        return name
    same = spellings(name, present)
    if same:
        return same[0]
    parts = []
    for part, value in zip(_PARTS, name.manifest_parts):
        there = {getattr(other, part) for other in present if getattr(other, part).lower() == value.lower()}
        parts.append(value if value in there or not there else min(there))
    return ModelName(*parts)


def clashes(name: ModelName, present: Iterable[ModelName]) -> list[ModelName]:
    """Return the other models whose names have a part that differs from this name's only in case.

    Ollama may look up all of them with either spelling of the part (:func:`as_present`).
    """
    return sorted(
        other
        for other in present
        if other.key != name.key
        and any(
            mine != theirs and mine.lower() == theirs.lower()
            for mine, theirs in zip(name.manifest_parts, other.manifest_parts)
        )
    )


def _unfit(text: str) -> InvalidNameError:
    return InvalidNameError(f"{text!r} is not a model name", remedy=f"Write it as {_FORM}", name=text)
