# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from typing import Any

import ollama as official
import pytest
import services


@pytest.mark.every_version
def test_info_of_all_models_is_what_the_official_client_lists(module: Any, any_server: services.OllamaServer) -> None:
    result = module("ollama_model_info", host=any_server.url)
    assert result["changed"] is False
    assert result["version"] in ("0.5.5", "0.24.0", "0.32.5")
    theirs = {model.model: model for model in official.Client(any_server.url).list().models}
    assert {model["name"] for model in result["models"]} == set(theirs) >= {"smollm2:135m", "all-minilm:latest"}
    for model in result["models"]:
        same = theirs[model["name"]]
        assert model["digest"] == f"sha256:{same.digest}"
        assert model["size"] == same.size
        assert model["quantization_level"] == (same.details.quantization_level if same.details else None)
        assert model["full_name"] == "registry.ollama.ai/library/" + model["name"]
    manifest = any_server.models_path / "manifests/registry.ollama.ai/library/smollm2/135m"
    (smollm2,) = [model for model in result["models"] if model["name"] == "smollm2:135m"]
    assert smollm2["digest"] == "sha256:" + hashlib.sha256(manifest.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "names, found",
    [
        (["smollm2:135m"], {"smollm2:135m"}),
        (["SmolLM2:135M"], {"smollm2:135m"}),
        (["all-minilm"], {"all-minilm:latest"}),
        (["registry.ollama.ai/library/all-minilm:latest"], {"all-minilm:latest"}),
        (["smol*"], {"smollm2:135m"}),
        (["*:latest"], {"all-minilm:latest"}),
        (["registry.ollama.ai/library/*"], {"smollm2:135m", "all-minilm:latest"}),
        (["all-minilm", "smollm[12]:*"], {"smollm2:135m", "all-minilm:latest"}),
        (["nope", "hf.co/*"], set()),
    ],
)
def test_info_of_names_and_patterns_returns_those_models(
    module: Any, ollama: services.OllamaServer, names: list[str], found: set[str]
) -> None:
    result = module("ollama_model_info", host=ollama.url, name=names)
    assert {model["name"] for model in result["models"]} == found


@pytest.mark.every_version
def test_info_with_details_is_what_the_official_client_shows(module: Any, any_server: services.OllamaServer) -> None:
    result = module("ollama_model_info", host=any_server.url, name="smollm2:135m", details=True)
    (model,) = result["models"]
    theirs = official.Client(any_server.url).show("smollm2:135m")
    assert model["template"] == theirs.template
    assert model["parameters"]["stop"] == ["<|im_start|>", "<|im_end|>"]
    assert model["parameters"]["temperature"] == 0
    assert model["model_info"]["general.architecture"] == "llama"
    assert not model["model_info"].get("tokenizer.ggml.tokens")
    verbose = module("ollama_model_info", host=any_server.url, name="smollm2:135m", details=True, verbose=True)
    assert len(verbose["models"][0]["model_info"]["tokenizer.ggml.tokens"]) > 10_000


def test_info_returns_the_running_models(module: Any, ollama: services.OllamaServer) -> None:
    official.Client(ollama.url).embed("all-minilm", "x", keep_alive="1h")
    result = module("ollama_model_info", host=ollama.url, name="smollm2:135m")
    (running,) = [model for model in result["running"] if model["name"] == "all-minilm:latest"]
    assert running["size"] > 0 and running["expires_at"] and running["digest"].startswith("sha256:")
    assert [model["loaded"] for model in module("ollama_model_info", host=ollama.url, name="all-minilm")["models"]] == [
        True
    ]


def test_info_without_a_host_uses_that_of_the_environment(module: Any, ollama: services.OllamaServer) -> None:
    result = module("ollama_model_info", environment={"OLLAMA_HOST": ollama.url.partition("//")[2]})
    assert result["models"]


def test_info_of_an_invalid_name_fails(module: Any, ollama: services.OllamaServer) -> None:
    result = module("ollama_model_info", host=ollama.url, name="a//b")
    assert result["failed"] and result["error_code"] == "invalid_name"
