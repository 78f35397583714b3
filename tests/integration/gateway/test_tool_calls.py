# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two tool calls in one answer, by every client, from a real Ollama: they keep their order and their indexes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
import services
from client_parts import COPIER, COPY_CALLS, TOOLS, WANTED, NodePackage, create_copier, store_of_its_own
from fleet_parts import CHAT_MODEL, EMBED_MODEL, WorkerProcess, configuration, delete_queues
from gateway_parts import GatewayProcess
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

MESSAGES = [{"role": "user", "content": COPY_CALLS}]
LANES = [{"type": "chat", "model": model} for model in (COPIER, CHAT_MODEL)]


@pytest.fixture(scope="module")
def copying(fleet_broker: Any, model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a worker and a real Ollama behind it, which has the model that calls tools."""
    directory = tmp_path_factory.mktemp("copying")
    (directory / "worker").mkdir()
    store = store_of_its_own(model_store, directory / "store")
    with services.ollama_server(store) as server:
        create_copier(server.url)
        settings = configuration(fleet_broker, server.url, lanes=LANES, registry={"heartbeat_interval": 1})
        worker = WorkerProcess(directory / "worker", settings, password=fleet_broker.password)
        gateway = GatewayProcess(directory / "gateway", fleet_broker, node_timeout=6)
        try:
            worker.wait_ready()
            yield gateway.wait_ready()
        finally:
            gateway.close()
            worker.close()
            delete_queues(fleet_broker, "llm.")


@pytest.fixture
def gpt(copying: GatewayProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=copying.url + "/v1", api_key="unused", max_retries=0)


def test_openai_tool_calls_keep_their_indexes_whole_and_streamed(gpt: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": COPIER, "messages": MESSAGES, "tools": TOOLS, "temperature": 0, "max_tokens": 90}
    choice = gpt.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == WANTED  # type: ignore[union-attr]
    deltas = []
    ends = set()
    for chunk in gpt.chat.completions.create(**asked, stream=True):
        deltas += chunk.choices[0].delta.tool_calls or []
        ends.add(chunk.choices[0].finish_reason)
    assert [(one.index, one.function.name) for one in deltas if one.function] == [(0, "get_weather"), (1, "get_time")]
    assert len({one.id for one in deltas}) == 2
    assert ends == {None, "tool_calls"}


def test_ollama_tool_calls_keep_their_indexes_whole_and_streamed(copying: GatewayProcess) -> None:
    client = ollama.Client(host=copying.url)
    whole = client.chat(COPIER, MESSAGES, tools=TOOLS)
    assert [(call.function.name, call.function.arguments) for call in whole.message.tool_calls or []] == WANTED
    pieces = list(client.chat(COPIER, MESSAGES, tools=TOOLS, stream=True))
    calls = [call for piece in pieces for call in piece.message.tool_calls or []]
    assert [(call.function.name, call.function.arguments) for call in calls] == WANTED
    raw = copying.ask("/api/chat", {"model": COPIER, "messages": MESSAGES, "tools": TOOLS}).body.decode()
    lines = [json.loads(line) for line in raw.splitlines()]
    indexes = [call["function"]["index"] for line in lines for call in line["message"].get("tool_calls", [])]
    assert indexes == [0, 1]


def test_anthropic_tool_calls_are_separate_blocks(copying: GatewayProcess) -> None:
    client = anthropic.Anthropic(base_url=copying.url, api_key="unused", max_retries=0)
    tools = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in TOOLS]
    asked: dict[str, Any] = {"model": COPIER, "messages": MESSAGES, "max_tokens": 90, "tools": tools}
    whole = client.messages.create(**asked)
    assert whole.stop_reason == "tool_use"
    assert [(one.name, one.input) for one in whole.content if one.type == "tool_use"] == WANTED
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert [(one.name, one.input) for one in final.content if one.type == "tool_use"] == WANTED


@pytest.mark.parametrize("kind", ["ChatOllama", "ChatOpenAI"])
def test_langchain_tool_calls_are_parsed_whole_and_streamed(copying: GatewayProcess, kind: str) -> None:
    chat: Any
    if kind == "ChatOllama":
        chat = ChatOllama(model=COPIER, base_url=copying.url, temperature=0)
    else:
        chat = ChatOpenAI(model=COPIER, base_url=f"{copying.url}/v1", api_key="unused", temperature=0, max_retries=0)
    bound = chat.bind_tools(TOOLS)
    assert [(call["name"], call["args"]) for call in bound.invoke(COPY_CALLS).tool_calls] == WANTED
    total: Any = None
    for piece in bound.stream(COPY_CALLS):
        total = piece if total is None else total + piece
    assert [(call["name"], call["args"]) for call in total.tool_calls] == WANTED


def test_npm_packages_tool_calls_keep_their_indexes(copying: GatewayProcess, tmp_path: Path) -> None:
    for name in ("openai", "ollama"):
        (tmp_path / name).mkdir()
    gpt = NodePackage("openai", tmp_path / "openai", copying.url)
    llama = NodePackage("ollama", tmp_path / "ollama", copying.url)
    asked: dict[str, Any] = {"model": COPIER, "messages": MESSAGES, "tools": TOOLS}
    # The package puts the deltas of a stream together by their indexes.
    choice = gpt.returned("tools", **asked, temperature=0, max_tokens=90)["final"]["choices"][0]
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == WANTED
    assert choice["finish_reason"] == "tool_calls"
    streamed = llama.returned("stream", **asked)
    found = [call["function"] for piece in streamed for call in piece["message"].get("tool_calls", [])]
    assert [(call["name"], call["arguments"]) for call in found] == WANTED


def test_tools_for_a_model_without_them_are_ollamas_error(gpt: openai.OpenAI, copying: GatewayProcess) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        gpt.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, tools=TOOLS)
    with pytest.raises(ollama.ResponseError, match="does not support tools") as refused:
        ollama.Client(host=copying.url).chat(CHAT_MODEL, MESSAGES, tools=TOOLS)
    assert refused.value.status_code == 400
    with pytest.raises(openai.NotFoundError):
        gpt.chat.completions.create(model=EMBED_MODEL, messages=MESSAGES, tools=TOOLS)
