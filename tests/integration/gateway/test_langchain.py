# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain, unmodified, before the gateway: ChatOllama and ChatOpenAI, and their embeddings."""

from __future__ import annotations

from typing import Any

import ollama
import openai
import pytest
from client_parts import chat_of
from fleet_gateway.settings.keys import new_key
from fleet_parts import CHAT_MODEL, EMBED_MODEL
from gateway_parts import GatewayProcess
from langchain_ollama import OllamaEmbeddings
from langchain_openai import OpenAIEmbeddings

PARIS = "What is the capital of France?"
KEY, HASH = new_key()
PLACE = {
    "title": "Place",
    "description": "A place.",
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


both = pytest.mark.parametrize("kind", ["ChatOllama", "ChatOpenAI"])


@both
def test_langchain_chat_is_answered_whole_and_streamed(real: GatewayProcess, kind: str) -> None:
    chat = chat_of(kind, real.url)
    whole = chat.invoke(PARIS)
    assert "Paris" in whole.content
    assert whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] > 0
    pieces = list(chat.stream(PARIS))
    assert len(pieces) > 2
    assert "".join(str(piece.content) for piece in pieces) == whole.content


@both
def test_langchain_structured_output_follows_its_schema(real: GatewayProcess, kind: str) -> None:
    structured = chat_of(kind, real.url).with_structured_output(PLACE, method="json_schema")
    assert set(structured.invoke(PARIS)) == {"city"}


def test_langchain_embeddings_have_their_dimensions(real: GatewayProcess) -> None:
    texts = ["a", "b"]
    by_ollama = OllamaEmbeddings(model=EMBED_MODEL, base_url=real.url).embed_documents(texts)
    # Without that it would send the numbers of tokens of an OpenAI model instead of texts.
    client = OpenAIEmbeddings(
        model=EMBED_MODEL, base_url=f"{real.url}/v1", api_key="unused", check_embedding_ctx_length=False
    )
    by_openai = client.embed_documents(texts)
    assert [len(one) for one in by_ollama] == [len(one) for one in by_openai] == [384, 384]
    assert by_openai[0] == pytest.approx(by_ollama[0], abs=1e-4)


def test_langchain_errors_have_the_classes_of_its_packages(real: GatewayProcess) -> None:
    with pytest.raises(ollama.ResponseError, match=CHAT_MODEL) as refused:
        chat_of("ChatOllama", real.url, model="nothing:1b").invoke(PARIS)
    assert refused.value.status_code == 404
    with pytest.raises(openai.NotFoundError, match=CHAT_MODEL):
        chat_of("ChatOpenAI", real.url, model="nothing:1b").invoke(PARIS)


@both
def test_langchain_unknown_key_is_refused(front: Any, kind: str) -> None:
    gateway = front(keys=[{"name": "alice", "hash": HASH}]).wait_answering()
    with pytest.raises((ollama.ResponseError, openai.AuthenticationError), match="not known here") as refused:
        chat_of(kind, gateway.url, "flg_wrong").invoke(PARIS)
    assert refused.value.status_code == 401
