# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of fields beside Ollama's own (``ollama_api.json``, taken from its sources)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.content_parts import MESSAGE_FIELDS
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.features import needed_by
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.request_fields import PASSED, REFUSED, passed_on

VERSIONS = json.loads((Path(__file__).parent / "ollama_api.json").read_text())["versions"]
STRUCTS = {"chat": "ChatRequest", "generate": "GenerateRequest", "embed": "EmbedRequest"}

#: Go embeds the tools without a tag of their own in the struct.
EMBEDDED = {"ChatRequest": {"tools"}}
#: What the lane and the dialect decide.
OURS = {"model", "stream"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("call", STRUCTS)
def test_every_field_of_the_api_is_passed_on_or_refused(version: str, call: str) -> None:
    fields = {*VERSIONS[version][STRUCTS[call]], *EMBEDDED.get(STRUCTS[call], ())} - OURS
    assert fields <= {*PASSED[call], *REFUSED}


@pytest.mark.parametrize("call", STRUCTS)
def test_no_field_is_passed_on_that_the_newest_api_does_not_have(call: str) -> None:
    newest = list(VERSIONS)[-1]
    assert set(PASSED[call]) <= {*VERSIONS[newest][STRUCTS[call]], *EMBEDDED.get(STRUCTS[call], ())}
    assert not set(PASSED[call]) & set(REFUSED)


@pytest.mark.parametrize("call", STRUCTS)
def test_needed_by_has_the_version_of_each_field_that_the_oldest_api_lacks(call: str) -> None:
    oldest = {*VERSIONS[next(iter(VERSIONS))][STRUCTS[call]], *EMBEDDED.get(STRUCTS[call], ())}
    newer = {name: True for name in PASSED[call] if name not in oldest}
    assert set(needed_by(call, newer)) == set(newer)
    assert not set(needed_by(call, dict.fromkeys(oldest, True)))


def test_the_fields_of_a_message_are_those_of_the_newest_api() -> None:
    assert set(VERSIONS[list(VERSIONS)[-1]]["Message"]) == MESSAGE_FIELDS


def test_passed_on_of_very_many_unknown_fields_names_the_first() -> None:
    _arguments, left_out = passed_on("chat", {f"f{number}": 1 for number in range(100_000)})
    assert left_out == tuple(f"f{number}" for number in range(20))
