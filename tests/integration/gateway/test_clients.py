# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real clients, unmodified, with a real Ollama behind the gateway."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
from typing import Any

import anthropic
import ollama
import openai
import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL
from services import part

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
SHORT = {"temperature": 0, "seed": 1}


@pytest.fixture
def gpt(real: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=real.url + "/v1", api_key="unused", max_retries=0)


@pytest.fixture
def llama(real: Any) -> ollama.Client:
    return ollama.Client(host=real.url)


@pytest.fixture
def claude(real: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=real.url, api_key="unused", max_retries=0)


def test_openai_chat_is_answered_whole_and_streamed(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(model=CHAT_MODEL, messages=HELLO, max_tokens=16, **SHORT)
    said = whole.choices[0].message.content
    assert said and "Paris" in said
    assert whole.usage is not None and whole.usage.completion_tokens > 0
    stream = gpt.chat.completions.create(
        model=CHAT_MODEL, messages=HELLO, max_tokens=16, stream=True, stream_options={"include_usage": True}, **SHORT
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_embeddings_have_their_dimensions_as_floats_and_as_base64(gpt: openai.OpenAI) -> None:
    asked = {"model": EMBED_MODEL, "input": ["a", "b"]}
    floats = gpt.embeddings.create(**asked, encoding_format="float")
    assert [len(one.embedding) for one in floats.data] == [384, 384]
    packed = gpt.embeddings.with_raw_response.create(**asked, encoding_format="base64")
    first = json.loads(packed.content)["data"][0]["embedding"]
    unpacked = struct.unpack("<384f", base64.b64decode(first))
    assert unpacked == pytest.approx(floats.data[0].embedding, abs=1e-5)


def test_openai_structured_output_follows_its_schema(gpt: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = gpt.chat.completions.create(
        model=CHAT_MODEL,
        messages=HELLO,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
        **SHORT,
    )
    assert "city" in json.loads(answer.choices[0].message.content or "")


def test_openai_completions_and_responses_are_answered(gpt: openai.OpenAI) -> None:
    assert gpt.completions.create(model=CHAT_MODEL, prompt="Once", max_tokens=4, **SHORT).choices[0].text
    asked: dict[str, Any] = {"model": CHAT_MODEL, "input": "Say hello.", "max_output_tokens": 8, "temperature": 0}
    assert gpt.responses.create(**asked).output_text
    events = [event.type for event in gpt.responses.create(**asked, stream=True)]
    assert events[0] == "response.created" and events[-1] == "response.completed"


def test_openai_models_are_those_of_the_fleet(gpt: openai.OpenAI) -> None:
    assert [model.id for model in gpt.models.list()] == [EMBED_MODEL, CHAT_MODEL]
    assert gpt.models.retrieve(CHAT_MODEL).owned_by == "library"


def test_openai_errors_are_raised_as_their_classes(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="reasoning"):
        gpt.chat.completions.create(model=CHAT_MODEL, messages=HELLO, extra_body={"reasoning_effort": "enormous"})
    with pytest.raises(openai.BadRequestError, match="temperature"):
        gpt.chat.completions.create(model=CHAT_MODEL, messages=HELLO, temperature=100)
    with pytest.raises(openai.NotFoundError):
        gpt.models.retrieve("nothing:1b")


def test_ollama_chat_is_answered_whole_and_streamed(llama: ollama.Client) -> None:
    options = {"num_predict": 16, **SHORT}
    whole = llama.chat(CHAT_MODEL, HELLO, options=options)
    said = whole.message.content
    assert said and "Paris" in said
    assert whole.eval_count
    pieces = list(llama.chat(CHAT_MODEL, HELLO, options=options, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == said
    assert len(pieces) > 2 and pieces[-1].done


def test_ollama_generate_embed_and_lists_are_answered(llama: ollama.Client) -> None:
    assert llama.generate(CHAT_MODEL, "Once", options={"num_predict": 4}).response
    assert len(llama.embed(EMBED_MODEL, ["a", "b"]).embeddings) == 2
    assert len(llama.embeddings(EMBED_MODEL, "a").embedding) == 384
    assert [model.model for model in llama.list().models] == [EMBED_MODEL, CHAT_MODEL]
    assert llama.show(CHAT_MODEL).capabilities == ["completion"]
    assert {model.model for model in llama.ps().models} == {EMBED_MODEL, CHAT_MODEL}


def test_ollama_structured_output_follows_its_schema(llama: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = llama.chat(CHAT_MODEL, HELLO, format=schema, options={"num_predict": 40, **SHORT})
    assert "city" in json.loads(answer.message.content or "")


@pytest.mark.parametrize("call", ["pull", "push", "delete"])
def test_ollama_calls_that_would_change_a_node_are_refused(llama: ollama.Client, call: str) -> None:
    with pytest.raises(ollama.ResponseError, match="managed by Ansible") as refused:
        getattr(llama, call)(CHAT_MODEL)
    assert refused.value.status_code == 403


def test_ollama_error_of_an_unknown_model_names_the_served_ones(real: Any, llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=CHAT_MODEL) as refused:
        llama.chat("nothing:1b", HELLO)
    assert refused.value.status_code == 404


def test_ollama_command_line_lists_and_runs(real: Any) -> None:
    command = str(part("ollama") / "bin" / "ollama")
    environment = {"OLLAMA_HOST": real.url, "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [command, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert CHAT_MODEL in run("list")
    assert "Paris" in run("run", CHAT_MODEL, "What is the capital of France?")


def test_anthropic_messages_are_answered_whole_and_streamed(claude: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": CHAT_MODEL, "messages": HELLO, "max_tokens": 16, "extra_body": {"temperature": 0}}
    whole = claude.messages.create(**asked)
    said = whole.content[0].text  # type: ignore[union-attr]
    assert "Paris" in said
    assert whole.usage.output_tokens > 0
    with claude.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == said


def test_anthropic_errors_and_models_have_their_formats(claude: anthropic.Anthropic) -> None:
    assert [model.id for model in claude.models.list()] == [EMBED_MODEL, CHAT_MODEL]
    with pytest.raises(anthropic.BadRequestError, match="web_search"):
        claude.messages.create(
            model=CHAT_MODEL,
            messages=HELLO,
            max_tokens=4,
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )


def test_usage_and_metrics_count_answered_requests(real: Any, llama: ollama.Client) -> None:
    before = _used(real)
    answer = llama.chat(CHAT_MODEL, HELLO, options={"num_predict": 4})
    after = _used(real)
    assert after["requests"] == before["requests"] + 1
    assert after["output_tokens"] == before["output_tokens"] + (answer.eval_count or 0)
    metrics = real.ask("/metrics").body.decode()
    assert f'fleet_gateway_tokens_total{{direction="output",key="anybody",model="{CHAT_MODEL}"}}' in metrics
    assert "capital of France" not in real.log


def _used(real: Any) -> dict[str, Any]:
    printed = subprocess.run(
        real.command("usage", "--json"), env=real.environment, check=True, stdout=subprocess.PIPE
    ).stdout
    rows = [row for row in json.loads(printed) if row["model"] == CHAT_MODEL]
    return rows[0] if rows else {"requests": 0, "output_tokens": 0}
