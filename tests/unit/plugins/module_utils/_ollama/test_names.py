# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import (
    InvalidNameError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import (
    ModelName,
    as_present,
    spellings,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text, full, short",
    [
        ("llama3", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        ("llama3:latest", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        (
            "registry.ollama.ai/library/llama3:latest",
            "registry.ollama.ai/library/llama3:latest",
            "llama3:latest",
        ),
        (
            "llama3.2:3b-instruct-q4_K_M",
            "registry.ollama.ai/library/llama3.2:3b-instruct-q4_K_M",
            "llama3.2:3b-instruct-q4_K_M",
        ),
        ("mike/llama", "registry.ollama.ai/mike/llama:latest", "mike/llama:latest"),
        ("hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M"),
        (
            "reg.example:5000/ns/m:t",
            "reg.example:5000/ns/m:t",
            "reg.example:5000/ns/m:t",
        ),
        (
            "https://reg.example/ns/m",
            "reg.example/ns/m:latest",
            "reg.example/ns/m:latest",
        ),
        (" llama3 ", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        ("_a:_b", "registry.ollama.ai/library/_a:_b", "_a:_b"),
    ],
)
def test_a_name_has_one_full_form(text: str, full: str, short: str) -> None:
    name = ModelName.parse(text)
    assert (name.full, name.short) == (full, short)
    assert ModelName.parse(name.short) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        "a:",
        ":tag",
        "/",
        "a//b",
        "a/b/c/d",
        "x:y:z",
        ".a",
        "-a",
        "a/..",
        "../a",
        "a:..",
        "a b",
        "a@sha256:1",
        "é",
        "a\x00b",
    ]
    + [
        "ftp://h/n/m",
        "http://m",
        "n.s/m",
        "h:1/n:2/m",
        "m" * 81,
        "n" * 81 + "/m",
        "m:" + "t" * 81,
        "h" * 351 + "/n/m",
    ],
)
def test_parse_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        ModelName.parse(text)
    assert caught.value.code == "invalid_name"
    assert "[host/][namespace/]model[:tag]" in str(caught.value)


def test_the_limits_themselves_are_accepted() -> None:
    text = f"{'h' * 350}/{'n' * 80}/{'m' * 80}:{'t' * 80}"
    assert ModelName.parse(text).full == text


@given(st.text())
def test_no_name_can_leave_its_folder(text: str) -> None:
    try:
        parts = ModelName.parse(text).manifest_parts
    except InvalidNameError:
        return
    for part in parts:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*", part), part


def test_a_part_that_was_not_parsed_is_checked_all_the_same() -> None:
    with pytest.raises(InvalidNameError):
        ModelName("registry.ollama.ai", "library", "../../etc", "passwd")


@pytest.mark.parametrize(
    "name, present, found",
    [
        ("MiniLM:q4_K_M", ["minilm:q4_k_m"], "minilm:q4_k_m"),
        ("MiniLM:q4_K_M", ["minilm:q4_k_m", "MiniLM:q4_K_M"], "MiniLM:q4_K_M"),
        ("MiniLM:q4_K_M", ["other"], "MiniLM:q4_K_M"),
        # Ollama takes each part as any model spells it.
        ("bar:q4_k_m", ["foo:Q4_K_M"], "bar:Q4_K_M"),
        ("bar:q4_k_m", ["foo:Q4_K_M", "other:q4_k_m"], "bar:q4_k_m"),
        ("HF.co/User/repo:Q4", ["hf.co/user/other:q4"], "hf.co/user/repo:q4"),
        ("llama3", [], "llama3"),
    ],
)
def test_a_name_is_written_as_ollamas_own_pull_would_write_it(name, present, found):
    parsed = [ModelName.parse(text) for text in present]
    assert as_present(ModelName.parse(name), parsed) == ModelName.parse(found)


def test_spellings_are_the_names_that_ollama_takes_for_the_same():
    present = [ModelName.parse(text) for text in ("MiniLM", "minilm", "minilm:8b")]
    assert spellings(ModelName.parse("MINILM:latest"), present) == present[:2]


def test_key_of_every_spelling_of_a_model_is_the_same() -> None:
    keys = {ModelName.parse(text).key for text in ("Llama3", "llama3:LATEST", "registry.ollama.ai/library/llama3")}
    assert keys == {"registry.ollama.ai/library/llama3:latest"}
    assert ModelName.parse("llama3").key != ModelName.parse("llama3:8b").key
