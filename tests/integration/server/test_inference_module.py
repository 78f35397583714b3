# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_chat_answers_as_the_official_client_gets_it(module: Any, ollama: services.OllamaServer) -> None:
    result = module("ollama_inference", host=ollama.url, name="smollm2:135m", messages=QUESTION)
    assert result["changed"] is False
    assert "Paris" in result["text"]
    assert result["done_reason"] == "stop"
    assert result["usage"]["input_tokens"] > 10 and result["usage"]["eval_duration"] > 0
    assert result["text"] == official.Client(ollama.url).chat("smollm2:135m", QUESTION).message.content


def test_prompt_is_continued(module: Any, ollama: services.OllamaServer) -> None:
    result = module(
        "ollama_inference",
        host=ollama.url,
        model="smollm2:135m",
        prompt="The capital of France is",
        raw=True,
        options={"num_predict": "5", "temperature": "0"},
    )
    assert result["text"] and result["done_reason"] == "length"
    assert result["usage"]["output_tokens"] == 5


def test_input_is_embedded(module: Any, ollama: services.OllamaServer) -> None:
    result = module("ollama_inference", host=ollama.url, name="all-minilm", input=["a cat", "a theorem"])
    assert [len(vector) for vector in result["embeddings"]] == [384, 384]
    assert result["usage"]["input_tokens"] > 0
    assert "text" not in result


@pytest.mark.parametrize("as_text", [False, True])
def test_structured_output_is_decoded(module: Any, ollama: services.OllamaServer, as_text: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    result = module(
        "ollama_inference",
        host=ollama.url,
        name="smollm2:135m",
        messages=QUESTION,
        format=json.dumps(schema) if as_text else schema,
        options={"num_predict": 60},
    )
    assert set(result["data"]) == {"city"}


def test_structured_output_cut_off_fails_and_returns_the_text(module: Any, ollama: services.OllamaServer) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    result = module(
        "ollama_inference",
        host=ollama.url,
        name="smollm2:135m",
        messages=QUESTION,
        format=schema,
        options={"num_predict": 2},
    )
    assert result["failed"] and result["error_code"] == "incomplete_response"
    assert "not the JSON that was asked for: it was cut off" in result["msg"] and "num_predict" in result["msg"]
    assert result["text"] and result["usage"]["output_tokens"] == 2


def test_system_prompt_of_a_chat_reaches_the_model(module: Any, ollama: services.OllamaServer) -> None:
    plain = module("ollama_inference", host=ollama.url, name="smollm2:135m", messages=QUESTION)
    other = module(
        "ollama_inference", host=ollama.url, name="smollm2:135m", messages=QUESTION, system="Be a pirate, arr."
    )
    assert other["usage"]["input_tokens"] != plain["usage"]["input_tokens"]


@pytest.mark.parametrize(
    "question",
    [{"prompt": "What is it?"}, {"messages": [{"role": "user", "content": "What is it?"}]}],
    ids=["prompt", "chat"],
)
def test_image_reaches_the_server(module: Any, tmp_path: Path, question: dict[str, Any]) -> None:
    """No model of the lab has eyes, and Ollama drops what a model cannot see, so the request itself is looked at."""
    seen = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"message": {"content": "A dot."}, "response": "A dot.", "done": true}\n')

        def log_message(self, *_arguments: Any) -> None:
            pass

    (tmp_path / "dot.png").write_bytes(b"dot")
    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.handle_request).start()
        host = f"127.0.0.1:{server.server_address[1]}"
        result = module("ollama_inference", host=host, name="eyes", images=[str(tmp_path / "dot.png")], **question)
    assert result["text"] == "A dot."
    assert (seen[0]["messages"][-1] if "messages" in question else seen[0])["images"] == ["ZG90"]


def test_missing_image_fails(module: Any, ollama: services.OllamaServer, tmp_path: Path) -> None:
    result = module(
        "ollama_inference", host=ollama.url, name="smollm2:135m", prompt="x", images=[str(tmp_path / "gone")]
    )
    assert result["failed"] and "gone cannot be read: No such file" in result["msg"]


def test_check_mode_sends_the_model_nothing(module: Any, ollama: services.OllamaServer) -> None:
    official.Client(ollama.url).generate("smollm2:135m", keep_alive=0)
    result = module("ollama_inference", check=True, host=ollama.url, name="smollm2:135m", prompt="x")
    assert result["changed"] is False and "text" not in result
    missing = module("ollama_inference", check=True, host=ollama.url, name="nope", prompt="x")
    assert missing["failed"] and missing["error_code"] == "model_not_found"


def test_inference_with_a_missing_model_fails(module: Any, ollama: services.OllamaServer) -> None:
    result = module("ollama_inference", host=ollama.url, name="nope", prompt="x")
    assert result["failed"] and result["error_code"] == "model_not_found"
    assert (result["status"], result["name"]) == (404, "nope:latest")


@pytest.mark.parametrize(
    "options, code",
    [
        ({"options": {"num_ctx": "many"}}, "invalid_option"),
        ({"keep_alive": "10 minutes"}, "invalid_option"),
        ({"format": "xml"}, "invalid_option"),
        ({"format": ["a"]}, "invalid_option"),
    ],
)
def test_inference_with_impossible_options_fails(
    module: Any, ollama: services.OllamaServer, options: dict[str, Any], code: str
) -> None:
    result = module("ollama_inference", host=ollama.url, name="smollm2:135m", prompt="x", **options)
    assert result["failed"] and result["error_code"] == code, result


def test_inference_ends_at_its_total_timeout(module: Any, ollama: services.OllamaServer) -> None:
    result = module(
        "ollama_inference",
        host=ollama.url,
        name="smollm2:135m",
        prompt="Go on",
        options={"num_predict": 100_000, "temperature": 50, "top_k": 40000},
        total_timeout=1,
    )
    assert result["failed"] and result["error_code"] == "deadline_exceeded"


@pytest.mark.parametrize(
    "options",
    [{}, {"prompt": "x", "messages": QUESTION}, {"prompt": "x", "tools": [{}]}, {"input": ["x"], "system": "y"}],
)
def test_contradictory_options_are_refused(module: Any, options: dict[str, Any]) -> None:
    assert module("ollama_inference", host="127.0.0.1:1", name="m", **options)["failed"]


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
#: Makes a model that has learned no tools call one: the schema of its answer is that of a call.
CALL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"const": "weather"},
        "parameters": {"type": "object", "properties": {"city": {"const": "Paris"}}, "required": ["city"]},
    },
    "required": ["name", "parameters"],
}


def test_tools_are_offered_and_called(module: Any, own_server: services.OllamaServer) -> None:
    client = official.Client(own_server.url)
    template = "{{ if .Tools }}{{ .Tools }}\n{{ end }}{{ range .Messages }}{{ .Content }}{{ range .ToolCalls }}"
    template += '{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}\n{{ end }}'
    client.create("caller", from_="smollm2:135m", template=template)
    asked: dict[str, Any] = {"host": own_server.url, "name": "caller", "messages": QUESTION}
    result = module("ollama_inference", tools=[TOOL], format=CALL, options={"num_predict": 80}, **asked)
    client.delete("caller")
    (called,) = [tool_call["function"] for tool_call in result["tool_calls"]]
    assert (called["name"], called["arguments"]) == ("weather", {"city": "Paris"})
    assert result["text"] == "" and "data" not in result, "a call is not an answer that lacks its JSON"


def test_thinking_is_returned_apart_from_the_text(module: Any, own_server: services.OllamaServer) -> None:
    """Ollama reads text after an opening tag at the end of the prompt as thinking, so any model can think."""
    client = official.Client(own_server.url)
    template = "{{ range .Messages }}{{ .Content }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}\n{{ end }}"
    client.create("thinker", from_="smollm2:135m", template=template + "\n<think>\n")
    asked: dict[str, Any] = {"host": own_server.url, "messages": QUESTION, "options": {"num_predict": 20}}
    result = module("ollama_inference", name="thinker", think=True, **asked)
    client.delete("thinker")
    assert result["thinking"] and result["text"] == "" and result["done_reason"] == "length", result
    cannot = module("ollama_inference", name="smollm2:135m", think=True, **asked)
    assert cannot["failed"] and "does not support thinking" in cannot["msg"]
