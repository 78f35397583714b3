# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Patterns of model names, which decide what may be imported, served or removed.

A pattern has the parts of a name, ``[host/][namespace/]model[:tag]``, and each part is compared with the same part of
the name. A wildcard therefore crosses neither ``/`` nor ``:``, and ``llama3*`` does not match
``llama3.example.com/library/x``. Parts that a pattern omits have the defaults of a name, with these exceptions:

- ``llama3*``: a model with a wildcard and without a tag matches all tags.
- ``*`` and ``*:8b``: the model ``*`` without a namespace matches the models of all hosts and namespaces.
- ``hf.co/*`` matches all models of a host. A namespace has no dot and no colon, so the first part can only be a host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import InvalidNameError
from .names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class NamePattern:
    """A shell pattern for each part of a model name."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Read a pattern.

        :raises InvalidNameError: when no name can match it.
        """
        parts = text.strip().split("/")
        model, colon, tag = parts[-1].partition(":")
        if len(parts) > 3 or not all(parts) or not model or (colon and not tag):
            raise _unfit(text)
        if len(parts) == 2 and ("." in parts[0] or ":" in parts[0]):
            if model != "*":
                raise _unfit(text)
            parts = [parts[0], "*", parts[1]]
        tag = tag or ("*" if _WILDCARDS & set(model) else DEFAULT_TAG)
        anywhere = len(parts) == 1 and model == "*"
        host = parts[-3] if len(parts) > 2 else "*" if anywhere else DEFAULT_HOST
        namespace = parts[-2] if len(parts) > 1 else "*" if anywhere else DEFAULT_NAMESPACE
        return cls(host, namespace, model, tag)

    def matches(self, name: ModelName, *, ignore_case: bool = False) -> bool:
        """Return whether a name matches.

        :param ignore_case: whether to ignore case, as Ollama does in look-ups. The keys of a mirror are case-sensitive.
        """
        pairs = (
            (name.host, self.host),
            (name.namespace, self.namespace),
            (name.model, self.model),
            (name.tag, self.tag),
        )
        if ignore_case:
            return all(fnmatchcase(part.lower(), pattern.lower()) for part, pattern in pairs)
        return all(fnmatchcase(part, pattern) for part, pattern in pairs)


def matches_any(name: ModelName, patterns: Iterable[str], *, ignore_case: bool = False) -> bool:
    """Return whether a name matches any of the patterns.

    :raises InvalidNameError: for a pattern that no name can match.
    """
    return any(NamePattern.parse(pattern).matches(name, ignore_case=ignore_case) for pattern in patterns)


def _unfit(text: str) -> InvalidNameError:
    return InvalidNameError(
        f"No model name can match the pattern {text!r}",
        remedy="Write it as [host/][namespace/]model[:tag], for example llama3*, hf.co/* or example.com/team/*:8b",
        name=text,
    )
