# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Which models must be signed, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName
from ..._ollama.patterns import NamePattern
from .keys import KeyRing

#: Nobody looks at signatures; what is wrong with one is a warning; or an error, and the model does not come.
OFF, WARN, ENFORCE = MODES = ("off", "warn", "enforce")


class SignaturePolicyError(CollectionError):
    """A policy of signatures cannot be meant so."""

    code = "signature_policy"


@dataclass(frozen=True)
class SignatureRule:
    """What is demanded of the models that match a pattern."""

    pattern: str
    mode: str


@dataclass(frozen=True)
class SignaturePolicy:
    """What is demanded of each model: by the first rule that matches its name, or else by default.

    :ivar allow_rollback: whether a model may be older than the one that was last imported under its name.
    """

    default: str = OFF
    rules: Sequence[SignatureRule] = ()
    keys: KeyRing = field(default_factory=lambda: KeyRing(()))
    allow_rollback: bool = False

    def __post_init__(self) -> None:
        for rule in self.rules:
            NamePattern.parse(rule.pattern)
        unknown = [mode for mode in (self.default, *(rule.mode for rule in self.rules)) if mode not in MODES]
        if unknown:
            raise SignaturePolicyError(f"{unknown[0]} is none of {', '.join(MODES)}", remedy="Correct the policy")
        if self.demands and not self.keys:
            raise SignaturePolicyError(
                "Signatures are to be checked, and there is no key to check them with",
                remedy="Give the public keys in signature_keys, or set the policy to off",
            )

    @property
    def demands(self) -> bool:
        """Whether any signature is looked at."""
        return any(mode != OFF for mode in (self.default, *(rule.mode for rule in self.rules)))

    def rule_of(self, name: ModelName) -> SignatureRule:
        """Return the rule for a model. Names that Ollama takes for one are one, so the case does not count."""
        for rule in self.rules:
            if NamePattern.parse(rule.pattern).matches(name, ignore_case=True):
                return rule
        return SignatureRule("*", self.default)
