# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The npm packages `openai` and `ollama`, unmodified, before the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from client_parts import NodePackage
from fleet_gateway.settings.keys import new_key
from fleet_parts import CHAT_MODEL, EMBED_MODEL
from gateway_parts import GatewayProcess

ASKED = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
OPENAI = {**ASKED, "max_tokens": 40, "temperature": 0, "seed": 1}
OLLAMA = {**ASKED, "options": {"num_predict": 40, "temperature": 0, "seed": 1}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
KEY, HASH = new_key()


@pytest.fixture
def gpt(real: GatewayProcess, tmp_path: Path) -> NodePackage:
    return NodePackage("openai", tmp_path, real.url)


@pytest.fixture
def llama(real: GatewayProcess, tmp_path: Path) -> NodePackage:
    return NodePackage("ollama", tmp_path, real.url)


def test_openai_of_npm_chat_is_answered_whole_and_streamed(gpt: NodePackage) -> None:
    whole = gpt.returned("chat", **OPENAI)
    said = whole["choices"][0]["message"]["content"]
    assert "Paris" in said and whole["usage"]["completion_tokens"] > 0
    chunks = gpt.returned("stream", **OPENAI, stream_options={"include_usage": True})
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]) == said
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_openai_of_npm_structured_output_and_embeddings_and_responses(gpt: NodePackage) -> None:
    answered = gpt.returned(
        "chat", **OPENAI, response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    )
    assert set(json.loads(answered["choices"][0]["message"]["content"])) == {"city"}
    # The package itself asks for base64, and decodes that.
    by_default = gpt.returned("embed", model=EMBED_MODEL, input=["a", "b"])["data"]
    floats = gpt.returned("embed", model=EMBED_MODEL, input=["a", "b"], encoding_format="float")["data"]
    assert [len(one["embedding"]) for one in by_default] == [384, 384]
    assert by_default[0]["embedding"] == pytest.approx(floats[0]["embedding"], abs=1e-5)
    said = gpt.returned("responses", model=CHAT_MODEL, input="Say hello.", max_output_tokens=8, temperature=0)
    assert said["text"] and (said["types"][0], said["types"][-1]) == ("response.created", "response.completed")


def test_openai_of_npm_models_and_errors(gpt: NodePackage) -> None:
    assert gpt.returned("models") == [EMBED_MODEL, CHAT_MODEL]
    unknown = gpt.said("chat", **{**OPENAI, "model": "nothing:1b"})
    assert (unknown["error"], unknown["status"]) == ("NotFoundError", 404) and CHAT_MODEL in unknown["message"]
    odd = gpt.said("chat", **{**OPENAI, "temperature": 100})
    assert (odd["error"], odd["status"]) == ("BadRequestError", 400) and "temperature" in odd["message"]


def test_ollama_of_npm_chat_is_answered_whole_and_streamed(llama: NodePackage) -> None:
    whole = llama.returned("chat", **OLLAMA)
    said = whole["message"]["content"]
    assert "Paris" in said and whole["eval_count"] > 0
    pieces = llama.returned("stream", **OLLAMA)
    assert "".join(piece["message"]["content"] for piece in pieces) == said
    assert len(pieces) > 2 and pieces[-1]["done"]


def test_ollama_of_npm_generate_structured_output_and_embeddings(llama: NodePackage) -> None:
    assert llama.returned("generate", model=CHAT_MODEL, prompt="Once", options={"num_predict": 4})["response"]
    answered = llama.returned("chat", **OLLAMA, format=SCHEMA)
    assert set(json.loads(answered["message"]["content"])) == {"city"}
    vectors = llama.returned("embed", model=EMBED_MODEL, input=["a", "b"])["embeddings"]
    assert [len(one) for one in vectors] == [384, 384]


def test_ollama_of_npm_models_and_errors(llama: NodePackage) -> None:
    assert llama.returned("models") == [EMBED_MODEL, CHAT_MODEL]
    unknown = llama.said("chat", **{**OLLAMA, "model": "nothing:1b"})
    assert (unknown["error"], unknown["status"]) == ("ResponseError", 404) and CHAT_MODEL in unknown["message"]
    pulled = llama.said("pull", model=CHAT_MODEL)
    assert pulled["status"] == 403 and "managed by Ansible" in pulled["message"]


@pytest.mark.parametrize("name", ["openai", "ollama"])
def test_npm_package_with_an_unknown_key_is_refused(front: Any, tmp_path: Path, name: str) -> None:
    gateway = front(keys=[{"name": "alice", "hash": HASH}]).wait_answering()
    said = NodePackage(name, tmp_path, gateway.url, "flg_wrong").said("chat", **ASKED)
    assert said["status"] == 401 and "not known here" in said["message"]
