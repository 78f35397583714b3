# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_inference: one question to a model of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._ollama.api_errors import IncompleteResponseError
from .._ollama.calls import Call
from .._ollama.json_text import read_json
from .._ollama.names import ModelName
from .._ollama.options import InvalidOptionError, keep_alive, runner_options
from .._ollama.usage import usage_of
from .images import encoded_image
from .server_options import connect


def inference(module: AnsibleModule) -> dict[str, Any]:
    """Ask a model once."""
    params = module.params
    name = ModelName.parse(params["name"]).short
    body = {
        "model": name,
        "options": runner_options(params["options"] or {}) or None,
        "keep_alive": keep_alive(params["keep_alive"]),
        "format": _format(params["format"]),
        "think": params["think"],
        "truncate": params["truncate"],
        **_question(params),
    }
    body = {key: value for key, value in body.items() if value is not None}
    with connect(module) as client:
        if module.check_mode:
            client.show(name)
            return {"changed": False, "model": name}
        call = Call(total_timeout=params["total_timeout"])
        if "input" in body:
            answer = client.embed(call=call, **body)
            return {"changed": False, "model": name, "embeddings": answer["embeddings"], "usage": usage_of(answer)}
        # In a stream, so that the timeout limits the silence, not the whole answer.
        stream = client.chat_stream if "messages" in body else client.generate_stream
        *_deltas, done = stream(call=call, **body)
    return {"changed": False, "model": name, **_answer(done.data, name, structured="format" in body)}


def _question(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the body that differs between chat, generate and embed."""
    images = [encoded_image(path) for path in params["images"] or []]
    if params["input"] is not None:
        return {"input": params["input"], "dimensions": params["dimensions"]}
    if params["messages"] is None:
        return {
            "prompt": params["prompt"],
            "suffix": params["suffix"],
            "system": params["system"],
            "raw": params["raw"],
            "images": images or None,
        }
    if not params["messages"]:
        raise InvalidOptionError("messages is empty", remedy="Give at least one message", option="messages")
    messages = [{**message, "images": _images_of(message)} for message in params["messages"]]
    if params["system"]:
        messages.insert(0, {"role": "system", "content": params["system"], "images": []})
    messages[-1]["images"] += images
    return {
        "messages": [{key: value for key, value in message.items() if value} for message in messages],
        "tools": params["tools"],
    }


def _images_of(message: Mapping[str, Any]) -> list[str]:
    paths = message.get("images") or []
    return [encoded_image(path) for path in ([paths] if isinstance(paths, str) else paths)]


def _format(value: Any) -> Any:
    # A template without native types turns a schema into text.
    if isinstance(value, str) and value not in ("", "json"):
        with contextlib.suppress(ValueError):
            value = read_json(value)
    if value and value != "json" and not isinstance(value, dict):
        raise InvalidOptionError(
            f"The format of the answer is {value!r}",
            remedy="Give json, or a JSON schema as a dictionary",
            option="format",
        )
    return value or None


def _answer(response: Mapping[str, Any], name: str, *, structured: bool) -> dict[str, Any]:
    message = response.get("message")
    part, text_key = (message, "content") if isinstance(message, dict) else (response, "response")
    answer: dict[str, Any] = {
        "text": part.get(text_key) or "",
        "thinking": part.get("thinking"),
        "tool_calls": part.get("tool_calls") or [],
        "done_reason": response.get("done_reason"),
        "usage": usage_of(response),
    }
    # A model with tools may call one instead of answering. Then its text is empty, even if a format was set.
    if structured and (answer["text"] or not answer["tool_calls"]):
        try:
            answer["data"] = read_json(answer["text"])
        except ValueError as error:
            reason = "it was cut off at its maximum length" if answer["done_reason"] == "length" else str(error)
            failure = IncompleteResponseError(
                f"The answer of {name} is not the JSON that was asked for: {reason}",
                partial=dict(response),
                remedy="Allow a longer answer (options.num_predict, options.num_ctx), or a simpler format",
                name=name,
            )
            failure.result = {"text": answer["text"], "usage": answer["usage"]}
            raise failure from error
    return answer
