# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node gets of clients that have a picture to show, or that leave in the middle of an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import ollama
import openai
import pytest
from client_parts import PIXEL, NodePackage, chat_of
from fleet_gateway.settings.keys import new_key
from fleet_parts import CHAT_MODEL, ScriptedOllama
from gateway_parts import GatewayProcess

KEY, HASH = new_key()
SHOWN = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
]
PICTURE = [{"role": "user", "content": "What is it?", "images": [PIXEL]}]
HELLO = [{"role": "user", "content": "Count."}]


@pytest.fixture
def gateway(work: Any, front: Any, scripted: ScriptedOllama) -> GatewayProcess:
    """A gateway with a key, before a node whose Ollama a test decides."""
    work(scripted.url)
    found: GatewayProcess = front(node_timeout=6, keys=[{"name": "alice", "hash": HASH}]).wait_ready()
    return found


@pytest.fixture
def shown(scripted: ScriptedOllama) -> Callable[[], tuple[str, Any]]:
    """Has the node see a pixel; returns the path and the last message of the one request that it got."""

    def behave(path: str, body: dict[str, Any]) -> Any:
        if path == "/api/chat":
            message = {"role": "assistant", "content": "A pixel."}
            return 200, {"model": body["model"], "message": message, "done": True, "done_reason": "stop"}
        choice = {"index": 0, "message": {"role": "assistant", "content": "A pixel."}, "finish_reason": "stop"}
        return 200, {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}

    scripted.behave = behave

    def seen() -> tuple[str, Any]:
        [(path, body)] = [call for call in scripted.calls if call[0].endswith(("/chat", "/completions"))]
        return path, body["messages"][-1]

    return seen


Shown = Callable[[], tuple[str, Any]]


@pytest.mark.parametrize("kind", ["ChatOllama", "ChatOpenAI"])
def test_picture_of_langchain_reaches_the_node_unharmed(gateway: GatewayProcess, shown: Shown, kind: str) -> None:
    assert chat_of(kind, gateway.url, KEY).invoke([("user", SHOWN)]).content == "A pixel."
    path, message = shown()
    if kind == "ChatOllama":
        assert (path, message["images"]) == ("/api/chat", [PIXEL])
    else:
        assert path == "/v1/chat/completions" and json.dumps(message["content"]).count(PIXEL) == 1


@pytest.mark.parametrize("name", ["openai", "ollama"])
def test_picture_of_an_npm_package_reaches_the_node_unharmed(
    gateway: GatewayProcess, shown: Shown, tmp_path: Path, name: str
) -> None:
    client = NodePackage(name, tmp_path, gateway.url, KEY)
    messages = PICTURE if name == "ollama" else [{"role": "user", "content": SHOWN}]
    assert "A pixel." in str(client.returned("chat", model=CHAT_MODEL, messages=messages))
    assert shown()[1] == messages[0]


def test_picture_of_the_python_packages_reaches_the_node_unharmed(gateway: GatewayProcess, shown: Shown) -> None:
    gpt = openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0)
    gpt.chat.completions.create(model=CHAT_MODEL, messages=[{"role": "user", "content": SHOWN}])  # type: ignore[list-item]
    assert shown() == ("/v1/chat/completions", {"role": "user", "content": SHOWN})


def talk() -> Iterator[dict[str, Any]]:
    """Say a word every 50 ms, for much longer than anybody listens: a stub learns when it writes that nobody does."""
    for word in ["one"] + ["more"] * 1000:
        yield {"model": CHAT_MODEL, "message": {"role": "assistant", "content": word}, "done": False}
        time.sleep(0.05)


def left_by_langchain(gateway: GatewayProcess, _directory: Path) -> None:
    stream = chat_of("ChatOllama", gateway.url, KEY).stream("Count.")
    assert next(stream).content == "one"
    stream.close()


def left_by_the_ollama_package(gateway: GatewayProcess, _directory: Path) -> None:
    client = ollama.Client(host=gateway.url, headers={"Authorization": f"Bearer {KEY}"})
    stream: Iterator[Any] = client.chat(CHAT_MODEL, HELLO, stream=True)
    assert next(stream).message.content == "one"
    stream.close()  # type: ignore[attr-defined]


def left_by_npm(gateway: GatewayProcess, directory: Path) -> None:
    said = NodePackage("ollama", directory, gateway.url, KEY).returned("cancel", model=CHAT_MODEL, messages=HELLO)
    assert said["message"]["content"] == "one"


@pytest.mark.parametrize("leave", [left_by_langchain, left_by_the_ollama_package, left_by_npm])
def test_stream_whose_client_disconnects_ends_at_the_node(
    gateway: GatewayProcess, scripted: ScriptedOllama, tmp_path: Path, leave: Callable[[GatewayProcess, Path], None]
) -> None:
    scripted.behave = lambda _path, _body: (200, talk())
    leave(gateway, tmp_path)
    assert scripted.cancelled.wait(20)
