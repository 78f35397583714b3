# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offering ids: both forms, with the digests that are known from LegionIO's own specs."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.offerings import (
    digest_id,
    means,
    readable_id,
)

OFFERING = ("ollama", "gpu-01", "inference", "qwen3.5:27b")


@pytest.mark.parametrize(
    "parts, digest",
    [
        (("vllm", "h200", "gemma4"), "c966772d7f8f428c24a77be96f94e111ba1052bf093098f0413b562c1059dcd1"),
        (("ollama", "gpu-01", "qwen3.5:27b"), "346c2e26b905abcef04d7f9456ea6857cdb09106b3ce5969328a0a03197ce606"),
    ],
)
def test_the_digests_are_legionios(parts: tuple[str, str, str], digest: str) -> None:
    assert digest_id(*parts) == f"off:v1:{digest}"


@pytest.mark.parametrize("tier", ["direct", "local", "fleet", "cloud", "frontier"])
def test_an_id_means_its_offering_in_any_tier(tier: str) -> None:
    assert means(readable_id(tier, *OFFERING), *OFFERING)


def test_an_id_means_its_offering_as_a_digest() -> None:
    assert means(digest_id("ollama", "gpu-01", "qwen3.5:27b"), *OFFERING)


@pytest.mark.parametrize(
    "offering_id",
    [
        "fleet:ollama:gpu-02:inference:qwen3.5:27b",
        "fleet:ollama:gpu-01:embedding:qwen3.5:27b",
        "fleet:ollama:gpu-01:inference:qwen3.5",
        "fleet:vllm:gpu-01:inference:qwen3.5:27b",
        "space:ollama:gpu-01:inference:qwen3.5:27b",
        "off:v1:c966772d7f8f428c24a77be96f94e111ba1052bf093098f0413b562c1059dcd1",
        "off:v1:",
        "fleet",
        "",
    ],
)
def test_an_id_of_another_offering_means_another(offering_id: str) -> None:
    assert not means(offering_id, *OFFERING)
