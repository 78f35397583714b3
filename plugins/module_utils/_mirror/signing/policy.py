# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The policy of signatures: which models must be signed, and with which keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName
from ..._ollama.patterns import NamePattern
from .keys import KeyRing

#: The modes of a rule: ignore signatures, warn of a missing or invalid signature, or refuse the model.
OFF, WARN, ENFORCE = MODES = ("off", "warn", "enforce")


class SignaturePolicyError(CollectionError):
    """A policy of signatures is invalid."""

    code = "signature_policy"


@dataclass(frozen=True)
class SignatureRule:
    """The mode for the models that match a pattern."""

    pattern: str
    mode: str


@dataclass(frozen=True)
class SignaturePolicy:
    """The mode for each model: that of the first rule that matches the model's name, or the default.

    :ivar allow_rollback: whether the signature of a model may be older than that of the last import under its name.
    """

    default: str = OFF
    rules: Sequence[SignatureRule] = ()
    keys: KeyRing = field(default_factory=lambda: KeyRing(()))
    allow_rollback: bool = False

    @classmethod
    def parse(
        cls, default: str, rules: Sequence[SignatureRule], keys: Sequence[str], *, allow_rollback: bool = False
    ) -> SignaturePolicy:
        """Return a policy whose keys are texts in PEM.

        A policy that checks no signature does not read its keys, because that needs the package cryptography.

        :raises CollectionError: for an invalid pattern, key or policy.
        """
        ring = KeyRing(keys if _demands(default, rules) else ())
        return cls(default, rules, ring, allow_rollback)

    def __post_init__(self) -> None:
        for rule in self.rules:
            NamePattern.parse(rule.pattern)
        unknown = [mode for mode in (self.default, *(rule.mode for rule in self.rules)) if mode not in MODES]
        if unknown:
            raise SignaturePolicyError(f"{unknown[0]} is not one of {', '.join(MODES)}", remedy="Correct the policy")
        if self.demands and not self.keys:
            raise SignaturePolicyError(
                "The policy requires signatures, but there are no keys to check them with",
                remedy="Give the public keys in signature_keys, or set the policy to off",
            )

    @property
    def demands(self) -> bool:
        """Whether any model's signature is checked."""
        return _demands(self.default, self.rules)

    def rule_of(self, name: ModelName) -> SignatureRule:
        """Return the rule for a model. The case of its name does not matter, as for Ollama."""
        for rule in self.rules:
            if NamePattern.parse(rule.pattern).matches(name, ignore_case=True):
                return rule
        return SignatureRule("*", self.default)


def _demands(default: str, rules: Sequence[SignatureRule]) -> bool:
    return any(mode != OFF for mode in (default, *(rule.mode for rule in rules)))
