# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import InvalidNameError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.patterns import NamePattern, matches_any
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "pattern, name, found",
    [
        ("llama3*", "llama3:8b", True),
        ("llama3*", "llama3.1", True),
        ("llama3*", "llama3.evil.example/library/x", False),
        ("llama3*", "llama3/x", False),
        ("llama3*", "llama3/library/llama3", False),
        ("llama3", "llama3:8b", False),
        ("llama3", "llama3:latest", True),
        ("llama3:*", "llama3:8b", True),
        ("llama3:8*", "llama3:8b", True),
        ("*", "hf.co/user/repo:Q4", True),
        ("*:8b", "hf.co/user/repo:8b", True),
        ("*:8b", "llama3:70b", False),
        ("?*", "hf.co/user/repo:Q4", False),
        ("team/*", "team/x:1", True),
        ("team/*", "hf.co/team/x", False),
        ("library/*", "evil.example/library/x", False),
        ("hf.co/*", "hf.co/user/repo:Q4", True),
        ("hf.co/*", "hf.co.evil.example/user/repo", False),
        ("hf.co/user/*", "hf.co/other/repo", False),
        ("*.example.com/*/*", "a.example.com/team/x:1", True),
        ("localhost:5000/*", "localhost:5000/team/x", True),
        ("localhost*/team/x", "localhost:5000/team/x", True),
        ("registry.ollama.ai/library/*", "llama3:8b", True),
    ],
)
def test_pattern_is_compared_part_by_part(pattern: str, name: str, found: bool) -> None:
    assert NamePattern.parse(pattern).matches(ModelName.parse(name)) is found
    assert matches_any(ModelName.parse(name), ["nothing", pattern]) is found


@pytest.mark.parametrize("pattern", ["", " ", "/", "a//b", "a/b/c/d", "/x", "x/", ":8b", "x:", "hf.co/repo*", "a:1/b"])
def test_pattern_that_no_name_can_match_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidNameError, match="No model name can match the pattern"):
        NamePattern.parse(pattern)


def test_pattern_case_counts_unless_it_is_to_be_ignored() -> None:
    pattern, name = NamePattern.parse("LLAMA3:*"), ModelName.parse("llama3:8B")
    assert not pattern.matches(name)
    assert pattern.matches(name, ignore_case=True)


PARTS = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)


@given(PARTS, PARTS, PARTS, PARTS)
def test_pattern_of_a_model_never_matches_another_host_or_namespace(
    host: str, space: str, model: str, tag: str
) -> None:
    name = ModelName(host + ".example", space, model, tag)
    for length in range(1, len(host) + 1):
        assert not NamePattern.parse(host[:length] + "*").matches(name)
        assert not NamePattern.parse(host[:length] + "*:*").matches(name)
