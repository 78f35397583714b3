# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import features
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import UnsupportedByServerError


@pytest.mark.parametrize(
    "version, first, old_enough",
    [
        ("0.9.0", "0.9.0", True),
        ("0.10.0", "0.9.0", True),
        ("0.8.9", "0.9.0", False),
        ("v0.9.1", "0.9.0", True),
        ("0.9.0-rc1", "0.9.0", True),
        ("0.0.0", "0.9.0", True),
        ("a fork's own words", "0.9.0", True),
        ("", "0.9.0", True),
        ("1.0.0", "0.12.11", True),
    ],
)
def test_at_least(version: str, first: str, old_enough: bool) -> None:
    assert features.at_least(version, first) is old_enough


def test_only_fields_that_are_set_are_needed() -> None:
    assert features.needed_by("chat", {"model": "m", "think": None, "logprobs": False}) == {"logprobs": "0.12.11"}
    assert features.needed_by("generate", {"truncate": False}) == {"truncate": "0.12.6"}
    assert features.needed_by("embed", {"truncate": False}) == {}


def test_the_error_names_the_version_that_brings_it() -> None:
    error = features.unsupported("think", "0.9.0", "0.5.7")
    assert isinstance(error, UnsupportedByServerError)
    assert "0.5.7" in str(error) and "think" in str(error) and "0.9.0" in str(error)
    assert error.details == {"needs": "0.9.0", "version": "0.5.7"}
