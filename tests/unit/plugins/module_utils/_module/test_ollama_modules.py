# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_model_info, ollama_blob and ollama_inference: what they report, and which mistakes they name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from module_run import Run, run_module

from .memory_ollama import MemoryOllama

CONTENT = b"GGUF and so on"
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def run(module: str, ollama: MemoryOllama, *, check: bool = False, **options: Any) -> Run:
    return run_module(module, {"host": ollama.url, "retries": 0, **options}, check=check)


def test_model_info_reports_version_models_and_loaded_ones(ollama: MemoryOllama) -> None:
    digest = ollama.add("a:1")
    ollama.add("b:1")
    ollama.loaded["a:1"] = {"context_length": 4096}
    result = run("ollama_model_info", ollama).result
    assert result["version"] == "0.24.0" and [model["name"] for model in result["models"]] == ["a:1", "b:1"]
    assert [model["loaded"] for model in result["models"]] == [True, False]
    assert [(model["digest"], model["context_length"]) for model in result["running"]] == [(digest, 4096)]


def test_model_info_patterns_and_details_choose(ollama: MemoryOllama) -> None:
    ollama.add("a:1", parameters="num_ctx 8", system="Be brief.")
    ollama.add("b:1")
    (model,) = run("ollama_model_info", ollama, name=["a*"], details=True).result["models"]
    assert (model["system"], model["capabilities"]) == ("Be brief.", ["completion"])


def test_blob_is_uploaded_once(ollama: MemoryOllama, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(CONTENT)
    check, first, second = (
        run("ollama_blob", ollama, path=str(path), digest=DIGEST, check=check) for check in (True, False, False)
    )
    assert (check.changed, first.changed, second.changed) == (True, True, False)
    assert ollama.requests == [("POST", "blob")]
    assert first.result["diff"] == {"before": {}, "after": {"digest": DIGEST, "size": len(CONTENT)}}


def test_blob_other_digest_is_refused(ollama: MemoryOllama, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(CONTENT)
    outcome = run("ollama_blob", ollama, path=str(path), digest="sha256:" + "0" * 64)
    assert outcome.result["error_code"] == "digest_mismatch" and outcome.result["digest"] == DIGEST


def test_blob_changed_during_the_upload_is_named(
    ollama: MemoryOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(CONTENT)
    module = "ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_blob.digest_and_size"
    monkeypatch.setattr(module, lambda _path: ("sha256:" + "1" * 64, len(CONTENT)))
    outcome = run("ollama_blob", ollama, path=str(path))
    assert outcome.result["error_code"] == "upload_source" and "changed while" in outcome.result["msg"]


def test_inference_chat_returns_text_and_usage(ollama: MemoryOllama, tmp_path: Path) -> None:
    ollama.add("a:1")
    image = tmp_path / "x.png"
    image.write_bytes(b"png")
    result = run(
        "ollama_inference",
        ollama,
        name="a:1",
        messages=[{"role": "user", "content": "Hello?"}],
        system="Be brief.",
        images=[str(image)],
    ).result
    assert (result["text"], result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == ("Hello", 7, 2)
    system, user = ollama.bodies[-1]["messages"]
    assert system == {"role": "system", "content": "Be brief."} and user["images"] == ["cG5n"]


def test_inference_prompt_and_input_use_their_own_paths(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    assert run("ollama_inference", ollama, name="a:1", prompt="Hello?").result["text"] == "Hello"
    embedded = run("ollama_inference", ollama, name="a:1", input=["x", "y"]).result
    assert embedded["embeddings"] == [[0.5, 0.25]] * 2
    assert ollama.requests == [("POST", "generate"), ("POST", "embed")]


def test_inference_in_check_mode_only_looks_for_the_model(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    assert run("ollama_inference", ollama, name="a:1", prompt="x", check=True).result["model"] == "a:1"
    assert run("ollama_inference", ollama, name="b:1", prompt="x", check=True).result["error_code"] == "model_not_found"
    assert ollama.requests == []


def test_inference_format_answers_with_data_or_says_why_not(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    for reason in ("stop", "length"):
        ollama.answers["generate"] = {"done_reason": reason}
        outcome = run("ollama_inference", ollama, name="a:1", prompt="x", format="json")
        assert outcome.result["error_code"] == "incomplete_response" and outcome.result["text"] == "Hello"
    assert "cut off" in outcome.result["msg"]
    schema = '{"type": "object"}'
    run("ollama_inference", ollama, name="a:1", prompt="x", format=schema)
    assert ollama.bodies[-1]["format"] == {"type": "object"}


@pytest.mark.parametrize(
    "options, code",
    [
        ({"prompt": "x", "format": "xml"}, "invalid_option"),
        ({"prompt": "x", "images": ["/gone.png"]}, "upload_source"),
        ({"prompt": "x", "keep_alive": "soon"}, "invalid_option"),
        ({"name": "a b", "prompt": "x"}, "invalid_name"),
        ({"messages": []}, "invalid_option"),
        ({"prompt": "x", "timeout": 0}, "invalid_option"),
        ({"prompt": "x", "timeout": "nan"}, "invalid_option"),
        ({"prompt": "x", "total_timeout": -1}, "invalid_option"),
    ],
)
def test_inference_options_that_make_no_sense_are_refused(
    ollama: MemoryOllama, options: dict[str, Any], code: str
) -> None:
    assert run("ollama_inference", ollama, **{"name": "a:1", **options}).result["error_code"] == code
    assert ollama.requests == []
