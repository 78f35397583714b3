# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and what they may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fleet_gateway.settings.keys import PREFIX, hash_of, new_key
from fleet_gateway.settings.sections import ConfigError

from .known_keys import HASH, KEY, key, ring


def test_new_key_is_random_and_only_its_hash_is_stored() -> None:
    other, other_hash = new_key()
    assert KEY.startswith(PREFIX) and len(KEY) > 40
    assert other != KEY and other_hash != HASH
    assert hash_of(KEY) == HASH and KEY not in HASH


def test_ring_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    assert keys.find(KEY) is not None
    assert not keys.refresh()
    (tmp_path / "keys.yml").write_text("keys: []")
    os.utime(tmp_path / "keys.yml", ns=(1, 1))
    assert keys.refresh()
    assert keys.find(KEY) is None


@pytest.mark.parametrize(
    "text, problem",
    [
        ("keys: [{name: alice}]", "hash"),
        ("keys: [{name: alice, hash: plain}]", "hash"),
        (f"keys: [{{name: a, hash: '{HASH}'}}, {{name: b, hash: '{HASH}'}}]", "two keys have the hash"),
        (f"keys: [{{name: a, hash: '{HASH}', models: ['']}}]", "models"),
        ("[]", "not a mapping"),
    ],
)
def test_ring_of_a_wrong_file_is_refused_and_keeps_what_it_had(tmp_path: Path, text: str, problem: str) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    (tmp_path / "keys.yml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        keys.refresh()
    assert keys.find(KEY) is not None


@pytest.mark.parametrize(
    "patterns, model, allowed",
    [
        (["*"], "llama3", True),
        (["llama3*"], "LLAMA3:8b", True),
        (["llama3*"], "qwen3", False),
        ([], "llama3", False),
        (["*"], "no model : name", True),
        (["n*"], "no model : name", False),
    ],
)
def test_allows_follows_the_patterns(patterns: list[str], model: str, allowed: bool) -> None:
    assert key(models=patterns).allows(model) is allowed


def test_ring_is_read_again_when_the_permissions_of_the_file_change(tmp_path: Path) -> None:
    """A file that the gateway could not read has the same content, size and time afterwards."""
    keys = ring(tmp_path, "keys: []")
    (tmp_path / "keys.yml").chmod(0o640)
    assert keys.refresh()
