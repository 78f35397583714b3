# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The recipe of a model, from another model or from files, and the differences between a model and its recipe.

Ollama keeps no recipe. So each part of an existing model is compared with the part that create would make of the
origin, by the rules of Ollama v0.24.0 and v0.32.5 (server/create.go): parameters and licenses are added to those of the
origin; the template, system prompt and messages replace those of the origin unless they are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .model_list import parameters_of, weights_of
from .names import ModelName

#: Returns the digest of a file on this machine. Hashing a large file may take minutes.
DigestOf = Callable[[str], str]


@dataclass(frozen=True)
class ModelSpec:
    """The recipe of a model, with either ``origin`` or ``files``.

    :ivar origin: the model to start from.
    :ivar files: paths on this machine, by the name of each file in the model.
    :ivar adapters: paths of adapters, by name like ``files``.
    :ivar parameters: runner options, each with the type that Ollama requires.
    :ivar messages: ``{role, content}`` each.
    """

    origin: Optional[ModelName] = None
    files: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()
    license: Sequence[str] = ()
    quantize: str = ""

    @property
    def paths(self) -> list[str]:
        """The files on this machine, each once."""
        return sorted({*self.files.values(), *self.adapters.values()})

    def request(self, digest_of: DigestOf) -> dict[str, Any]:
        """Return the body of a create request, without the name."""
        body: dict[str, Any] = {
            "from": self.origin.short if self.origin else None,
            "files": {name: digest_of(path) for name, path in self.files.items()},
            "adapters": {name: digest_of(path) for name, path in self.adapters.items()},
            "template": self.template,
            "system": self.system,
            "parameters": dict(self.parameters),
            "messages": [dict(message) for message in self.messages],
            "license": list(self.license),
            "quantize": self.quantize,
        }
        return {name: value for name, value in body.items() if value}


def wanted(recipe: ModelSpec, origin: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the description that the recipe leads to, in the form of :func:`present`.

    :param origin: the origin's answer to ``show``.
    """
    base = (
        present(origin) if origin else {"template": None, "system": "", "parameters": {}, "messages": [], "license": ""}
    )
    added = [text for text in recipe.license if text]
    return {
        "template": recipe.template or base["template"],
        "system": recipe.system or base["system"],
        "parameters": {**base["parameters"], **recipe.parameters},
        "messages": [_message(message) for message in recipe.messages] or base["messages"],
        "license": "\n".join([base["license"], *added] if base["license"] else added),
    }


def present(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a model from its answer to ``show``."""
    return {
        "template": shown.get("template") or "",
        "system": shown.get("system") or "",
        "parameters": parameters_of(shown),
        "messages": [_message(message) for message in shown.get("messages") or []],
        "license": shown.get("license") or "",
    }


def differences(
    recipe: ModelSpec,
    shown: Mapping[str, Any],
    origin: Optional[Mapping[str, Any]],
    digest_of: DigestOf,
) -> list[str]:
    """Return the parts in which a model differs from its recipe, as far as the server shows them.

    Ollama itself may find a template and stop words in the files of a model. So for a model from files these count only
    if the recipe has them. Ollama makes new weights when it converts or quantizes; then only their kind and
    quantization are compared.

    :param shown: the model's answer to ``show``.
    :param digest_of: called only for the files whose bytes the model keeps.
    """
    there, want = present(shown), wanted(recipe, origin)
    if recipe.origin is None:
        want["template"] = recipe.template or there["template"]
        if "stop" in there["parameters"]:
            want["parameters"].setdefault("stop", there["parameters"]["stop"])
    parts = [part for part in ("template", "system", "messages", "license") if there[part] != want[part]]
    if _as_lists(there["parameters"]) != _as_lists(want["parameters"]):
        parts.append("parameters")
    if not _same_weights(recipe, shown, origin, digest_of):
        parts.append("weights")
    return parts


def wanted_weights(recipe: ModelSpec, origin: Optional[Mapping[str, Any]], digest_of: DigestOf) -> Optional[list[str]]:
    """Return the digests that the weights of the model will have; None when only the server knows them."""
    level = str(((origin or {}).get("details") or {}).get("quantization_level", "")).upper()
    names = [*recipe.files, *recipe.adapters]
    if (recipe.quantize and recipe.quantize.upper() != level) or not all(n.lower().endswith(".gguf") for n in names):
        return None
    ours = [digest_of(path) for path in [*recipe.files.values(), *recipe.adapters.values()]]
    return sorted([*(weights_of(origin) if origin else []), *ours])


def _same_weights(
    recipe: ModelSpec, shown: Mapping[str, Any], origin: Optional[Mapping[str, Any]], digest_of: DigestOf
) -> bool:
    details, base = shown.get("details") or {}, (origin or {}).get("details") or {}
    if recipe.quantize and recipe.quantize.upper() != str(details.get("quantization_level", "")).upper():
        return False
    if origin and any(details.get(key) != base.get(key) for key in ("family", "parameter_size")):
        return False
    want = wanted_weights(recipe, origin, digest_of)
    return want is None or want == sorted(weights_of(shown))


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    return {"role": str(message.get("role", "")), "content": str(message.get("content", ""))}


def _as_lists(parameters: Mapping[str, Any]) -> dict[str, list[Any]]:
    # The server shows a single stop word and a list of one in the same way.
    return {name: value if isinstance(value, list) else [value] for name, value in parameters.items()}
