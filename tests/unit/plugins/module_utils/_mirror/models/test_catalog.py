# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of a mirror: its models, its blobs, and what somebody may have meant."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorAccessError,
    MirrorUnreachableError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.catalog import (
    blobs,
    matches,
    missing,
    models,
    nearest,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName


@pytest.mark.parametrize(
    "name, pattern, found",
    [
        ("llama3:8b", "llama3*", True),
        ("llama3:8b", "llama3", False),
        ("llama3", "llama3", True),
        ("llama3", "llama3:latest", True),
        ("llama3:8b", "*:8b", True),
        ("llama3:8b", "registry.ollama.ai/library/*", True),
        ("llama3:8b", "library/llama3:*", True),
        ("hf.co/user/repo:Q4", "hf.co/*", True),
        ("hf.co/user/repo:Q4", "user/repo:Q4", False),
        ("hf.co/user/repo:Q4", "repo*", False),
        ("Llama3", "llama3", False),
    ],
)
def test_matches_name_by_its_short_or_full_form(name, pattern, found):
    assert matches(ModelName.parse(name), [pattern]) is found
    assert matches(ModelName.parse(name), ["nothing", pattern]) is found
    assert matches(ModelName.parse(name), [])


@pytest.mark.parametrize(
    "absent, likely",
    [
        ("llama3", ["llama3:8b", "llama3:70b"]),
        ("lama3:8b", ["llama3:8b", "llama3:70b"]),
        ("mike/llama3:8b", ["llama3:8b", "llama3:70b"]),
        ("nomic-embed", ["nomic-embed-text:latest"]),
        ("qwen", []),
    ],
)
def test_nearest_absent_name_gives_the_likeliest_first(absent, likely):
    present = [ModelName.parse(text) for text in ("llama3:8b", "llama3:70b", "nomic-embed-text", "phi4:14b")]
    assert nearest(ModelName.parse(absent), present, 2) == likely


def test_models_sound_and_broken_ones_are_listed_by_name(memory_mirror):
    raw = memory_mirror.put("b", b"weights")
    memory_mirror.objects[memory_mirror.layout.manifest_key(ModelName.parse("a"))] = b"{"
    broken, sound = models(memory_mirror)
    assert (broken.name.short, broken.manifest) == ("a:latest", None)
    assert broken.problem
    assert (sound.name.short, sound.manifest.raw, sound.problem) == ("b:latest", raw, "")
    assert [found.name.short for found in models(memory_mirror, ["b"])] == ["b:latest"]


def test_models_model_that_was_removed_since_it_was_listed_is_left_out(memory_mirror, monkeypatch):
    memory_mirror.put("a", b"weights")
    monkeypatch.setattr(memory_mirror, "manifest", lambda name: None)
    assert models(memory_mirror) == []


def test_models_server_that_cannot_be_reached_is_an_error(memory_mirror, monkeypatch):
    memory_mirror.put("a", b"weights")

    def refuse(key, limit):
        raise MirrorUnreachableError("down")

    monkeypatch.setattr(memory_mirror.store, "get", refuse)
    with pytest.raises(MirrorUnreachableError):
        models(memory_mirror)


@pytest.mark.parametrize("count, requests", [(32, {"head"}), (33, {"page"})])
def test_blobs_many_are_listed_and_few_are_asked_for(memory_mirror, count, requests):
    contents = [bytes([number]) for number in range(count)]
    memory_mirror.put("a", *contents)
    found = blobs(memory_mirror, [digest_of(content) for content in contents])
    assert len(found) == count
    assert {name for name, _key in memory_mirror.store.requests} == requests


def test_blobs_list_that_is_denied_is_made_up_for_by_requests(memory_mirror, monkeypatch):
    contents = [bytes([number]) for number in range(40)]
    memory_mirror.put("a", *contents)

    def refuse(prefix, token, after):
        raise MirrorAccessError("no")

    monkeypatch.setattr(memory_mirror.store, "page", refuse)
    assert len(blobs(memory_mirror, [digest_of(content) for content in contents])) == 40


@pytest.mark.parametrize("listable", [True, False])
def test_missing_model_remedy_names_what_is_alike_if_that_can_be_listed(memory_mirror, monkeypatch, listable):
    memory_mirror.put("llama3:8b", b"weights")

    def refuse(prefix, token, after):
        raise MirrorAccessError("no")

    if not listable:
        monkeypatch.setattr(memory_mirror.store, "page", refuse)
    error = missing(memory_mirror, ModelName.parse("lama3:8b"))
    assert ("llama3:8b" in error.remedy) is listable
    assert "s3://models/ollama/models/ has no model lama3:8b" in error.message
