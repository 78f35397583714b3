# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.model_spec import ModelSpec, differences, wanted
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

BASE_BLOB, FILE_BLOB, ADAPTER_BLOB = ("sha256:" + letter * 64 for letter in "abc")
BASE = ModelName.parse("base")


def shown(*blobs: str, **more: Any) -> dict[str, Any]:
    """An answer to show."""
    lines = [f"FROM /m/blobs/{blob.replace(':', '-')}" for blob in blobs]
    return {
        "modelfile": "\n".join([*lines, "TEMPLATE x"]),
        "template": "T",
        "details": {"family": "llama", "parameter_size": "1B", "quantization_level": "F16"},
        **more,
    }


ORIGIN = shown(BASE_BLOB, parameters='stop "a"\ntemperature 0.5', license="L1", system="S")


def digest_of(path: str) -> str:
    return {"/w.gguf": FILE_BLOB, "/a.gguf": ADAPTER_BLOB}[path]


def compare(recipe: ModelSpec, there: dict[str, Any]) -> list[str]:
    return differences(recipe, there, ORIGIN if recipe.origin else None, digest_of)


def test_a_body_has_what_is_given() -> None:
    recipe = ModelSpec(BASE, adapters={"a.gguf": "/a.gguf"}, parameters={"seed": 1}, license=["L"])
    assert recipe.request(digest_of) == {
        "from": "base:latest",
        "adapters": {"a.gguf": ADAPTER_BLOB},
        "parameters": {"seed": 1},
        "license": ["L"],
    }
    assert ModelSpec(files={"w.gguf": "/w.gguf", "v.gguf": "/w.gguf"}).paths == ["/w.gguf"]


def test_missing_fields_come_from_the_origin() -> None:
    assert wanted(ModelSpec(BASE, parameters={"temperature": 1, "seed": 2}, license=["L2"]), ORIGIN) == {
        "template": "T",
        "system": "S",
        "parameters": {"stop": "a", "temperature": 1, "seed": 2},
        "messages": [],
        "license": "L1\nL2",
    }


def test_the_same_is_the_same() -> None:
    assert compare(ModelSpec(BASE), dict(ORIGIN)) == []
    assert compare(ModelSpec(BASE, parameters={"stop": ["a"]}), dict(ORIGIN)) == []


@pytest.mark.parametrize(
    "there, part",
    [
        ({"template": "other"}, "template"),
        ({"system": ""}, "system"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"license": "L1\nL2"}, "license"),
        ({"parameters": 'stop "b"\ntemperature 0.5'}, "parameters"),
        ({"parameters": 'stop "a"\ntemperature 0.5\nseed 1'}, "parameters"),
        ({"modelfile": "FROM /m/blobs/" + FILE_BLOB.replace(":", "-")}, "weights"),
        ({"details": {"family": "bert", "parameter_size": "1B"}}, "weights"),
    ],
)
def test_a_difference_is_named(there: dict[str, Any], part: str) -> None:
    assert compare(ModelSpec(BASE), {**ORIGIN, **there}) == [part]


def test_files_and_adapters_are_compared_by_their_digests() -> None:
    recipe = ModelSpec(files={"w.gguf": "/w.gguf"}, template="T")
    assert compare(recipe, shown(FILE_BLOB)) == []
    assert compare(recipe, shown(BASE_BLOB)) == ["weights"]
    adapted = ModelSpec(BASE, adapters={"a.gguf": "/a.gguf"})
    assert compare(adapted, {**ORIGIN, "modelfile": shown(BASE_BLOB, ADAPTER_BLOB)["modelfile"]}) == []
    assert compare(adapted, dict(ORIGIN)) == ["weights"]


def test_stop_words_that_ollama_finds_in_files_are_no_difference() -> None:
    recipe = ModelSpec(files={"w.gguf": "/w.gguf"})
    assert compare(recipe, shown(FILE_BLOB, parameters='stop "<|im_end|>"')) == []
    assert compare(recipe, shown(FILE_BLOB, parameters="temperature 1")) == ["parameters"]
    assert compare(recipe, shown(FILE_BLOB, system="S")) == ["system"]
    stopped = ModelSpec(files={"w.gguf": "/w.gguf"}, parameters={"stop": ["x"]})
    assert compare(stopped, shown(FILE_BLOB, parameters='stop "y"')) == ["parameters"]


def test_new_weights_are_compared_by_kind_and_level() -> None:
    level = {"family": "llama", "parameter_size": "1B", "quantization_level": "Q8_0"}
    quantized = ModelSpec(BASE, quantize="q8_0")
    assert compare(quantized, {**ORIGIN, "modelfile": "", "details": level}) == []
    assert compare(quantized, dict(ORIGIN)) == ["weights"]
    assert compare(quantized, {**ORIGIN, "details": {**level, "parameter_size": "2B"}}) == ["weights"]
    assert compare(ModelSpec(BASE, quantize="f16"), dict(ORIGIN)) == [], (
        "it has that level already, so nothing is converted"
    )
    assert compare(ModelSpec(files={"m.safetensors": "/never/read"}), shown(FILE_BLOB)) == []
