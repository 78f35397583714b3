# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The models of a server, read from its lists and descriptions."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .errors import InvalidNameError
from .json_text import read_json
from .names import ModelName

#: A string of Go. Python's parser reads only such texts, because other texts could be nested too deeply.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BLOB_PATH = re.compile(r"sha256-([0-9a-f]{64})\"?$")


@dataclass(frozen=True)
class ListedModel:
    """A model of a server's list.

    :ivar name: the complete name.
    :ivar shown: the name as the server spells it.
    :ivar digest: the SHA-256 of the manifest, ``sha256:<hex>``.
    :ivar size: bytes of all layers; a blob that models share counts for each of them.
    :ivar document: the entry of the list as the server sent it.
    """

    name: ModelName
    shown: str
    digest: str
    size: int
    document: Mapping[str, Any]


def listed(document: Mapping[str, Any]) -> list[ListedModel]:
    """Return the models of an answer to ``tags`` or ``ps``, in its order."""
    models = []
    for entry in document.get("models") or []:
        shown = entry.get("name") or entry.get("model") or ""
        try:
            name = ModelName.parse(shown)
        except InvalidNameError:
            continue  # a foreign file in the store, which no model name can select
        models.append(ListedModel(name, shown, full_digest(entry.get("digest")), entry.get("size") or 0, entry))
    return models


def full_digest(text: Optional[str]) -> str:
    """Return a digest with its algorithm, which the server's lists omit."""
    if not text or text.startswith("sha256:"):
        return text or ""
    return "sha256:" + text


def find(models: Iterable[ListedModel], name: ModelName) -> Optional[ListedModel]:
    """Return the model that the server finds for a name: with the same spelling, else with another case."""
    folded = None
    for model in models:
        if model.name == name:
            return model
        if model.name.key == name.key:
            folded = model
    return folded


def matches(pattern: str, name: ModelName) -> bool:
    """Return whether a name matches a shell pattern (``*``, ``?``, ``[...]``), or equals a name in any of its forms.

    A pattern is compared with the short and the full form of the name. As in the server, case does not count.

    :raises InvalidNameError: for a text that is neither a pattern nor a name.
    """
    if not re.search(r"[*?[]", pattern):
        return ModelName.parse(pattern).key == name.key
    folded = pattern.casefold()
    return any(fnmatch.fnmatchcase(form.casefold(), folded) for form in (name.short, name.full))


def parameters_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an answer to ``show``, by name; a parameter that is set several times has a list.

    Each line of the answer has a name, and a value in Go's syntax (server/routes.go, GetModelInfo).
    """
    found: dict[str, list[Any]] = {}
    for line in (shown.get("parameters") or "").splitlines():
        name, _space, value = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(_go_value(value.strip()))
    return {name: values if len(values) > 1 else values[0] for name, values in sorted(found.items())}


def _go_value(text: str) -> Any:
    # Go writes numbers and truth values like JSON. Its strings have more escapes, which Python has, too.
    with contextlib.suppress(ValueError):
        return read_json(text)
    if _QUOTED.fullmatch(text):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(text)
    return text


def weights_of(shown: Mapping[str, Any]) -> list[str]:
    """Return the digests of weights, projectors and adapters, from the Modelfile of an answer to ``show``.

    The list is empty for a model in another form (MLX, cloud).
    """
    digests = []
    for line in (shown.get("modelfile") or "").splitlines():
        word, _space, rest = line.partition(" ")
        if word.startswith("#") or not line.strip():
            continue
        if word not in ("FROM", "ADAPTER"):
            break
        blob = _BLOB_PATH.search(rest.strip())
        if blob:
            digests.append("sha256:" + blob.group(1))
    return digests
