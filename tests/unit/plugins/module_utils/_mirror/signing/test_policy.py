# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which policy counts for which model."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.policy import (
    SignaturePolicy,
    SignaturePolicyError,
    SignatureRule,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import (
    InvalidNameError,
    MissingDependencyError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

from .signed_models import KEY, RING, pem_of


@pytest.mark.parametrize(
    "name, mode",
    [
        ("llama3:8b", "enforce"),
        ("LLAMA3:8b", "enforce"),
        ("llama3.2:1b", "warn"),
        ("hf.co/x/y", "off"),
        ("phi", "warn"),
    ],
)
def test_rule_of_is_the_first_that_matches_in_any_case(name, mode):
    rules = (SignatureRule("llama3", "enforce"), SignatureRule("llama3:*", "enforce"), SignatureRule("hf.co/*", "off"))
    assert SignaturePolicy("warn", rules, RING).rule_of(ModelName.parse(name)).mode == mode


def test_policy_that_demands_signatures_without_keys_is_refused():
    for policy in ({"default": "warn"}, {"rules": (SignatureRule("*", "enforce"),)}):
        with pytest.raises(SignaturePolicyError, match="signature_keys"):
            SignaturePolicy(**policy)
    assert not SignaturePolicy().demands


def test_parse_of_a_policy_without_checks_needs_no_cryptography(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    rules, keys = [SignatureRule("*", "off")], [pem_of(KEY)]
    assert not SignaturePolicy.parse("off", rules, keys).demands
    with pytest.raises(MissingDependencyError):
        SignaturePolicy.parse("off", [*rules, SignatureRule("a", "warn")], keys)


def test_policy_that_is_misspelled_is_refused():
    with pytest.raises(SignaturePolicyError, match="enforced is not one of off, warn, enforce"):
        SignaturePolicy(rules=(SignatureRule("*", "enforced"),), keys=RING)
    with pytest.raises(InvalidNameError):
        SignaturePolicy(rules=(SignatureRule("a/b/c/d", "warn"),), keys=RING)
