# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies that are carried: the very bytes where nothing is to be decided, and nothing that hides behind a spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.carried_body import body_on_terms, wanted_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.carried_paths import (
    CARRIED_PATHS,
    asks_for_stream,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.json_text import read_json_closely
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RefusedFieldError

from .picture_samples import PIXEL, png

HELLO = [{"role": "user", "content": "Hello"}]
BOMB = png(60_000, 60_000)
LONG_TEXT = {"type": "string", "minLength": 1_000_000}


def wanted(path: str, body: Any) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wanted_of(path, content, read_json_closely(content))


def sent(path: str, body: bytes, **terms: Any) -> bytes:
    return body_on_terms(body, json.loads(body), path, {"model": "m:1", **terms})


@pytest.mark.parametrize("path", CARRIED_PATHS)
def test_wanted_of_a_plain_body_takes_every_path(path: str) -> None:
    said = {"messages": HELLO} if "chat" in path or "messages" in path else {"prompt": "x"}
    body = {"model": "m:1", **({"input": "x"} if "embed" in path or "responses" in path else said)}
    if path == "/api/embeddings":
        body = {"model": "m:1", "prompt": "x"}
    assert wanted(path, body) == {}


def test_wanted_of_compatible_interfaces_names_options_as_ollama_does() -> None:
    body = {"model": "m:1", "messages": HELLO, "max_tokens": 5, "temperature": 0, "stop": "x"}
    assert wanted("/v1/chat/completions", body) == {"options": {"num_predict": 5, "temperature": 0, "stop": "x"}}
    body = {"model": "m:1", "messages": HELLO, "max_tokens": 5, "stop_sequences": ["x"], "top_k": 3}
    assert wanted("/v1/messages", body) == {"options": {"num_predict": 5, "stop": ["x"], "top_k": 3}}


@pytest.mark.parametrize(
    "path, body, field",
    [
        ("/api/chat", {"Model": "other", "model": "m:1", "messages": HELLO}, "Model"),
        ("/api/chat", {"model": "m:1", "messages": HELLO, "opTions": {"num_gpu": 0}}, "opTions"),
        ("/api/chat", {"model": "m:1", "messages": HELLO, "\u212aeep_alive": -1}, "\u212aeep_alive"),
        ("/api/chat", {"model": "m:1", "messages": [{"role": "user", "Images": [BOMB]}]}, "messages.Images"),
        ("/api/chat", {"model": "m:1", "messages": [{"role": "user", "images": [BOMB]}]}, "messages.images"),
        ("/api/chat", {"model": "m:1", "messages": HELLO, "format": LONG_TEXT}, "format"),
        ("/api/generate", {"model": "m:1", "prompt": "x", "context": [1]}, "context"),
        ("/api/generate", {"model": "m:1", "prompt": "x", "template": "{{ . }}"}, "template"),
        ("/api/embeddings", {"model": "m:1", "prompt": "x", "options": [1]}, "options"),
        (
            "/v1/chat/completions",
            {"model": "m:1", "response_format": {"type": "json_schema", "json_schema": {"schema": LONG_TEXT}}},
            "format",
        ),
        (
            "/v1/chat/completions",
            {"model": "m:1", "response_format": {"type": "json_schema", "json_schema": {"Schema": LONG_TEXT}}},
            "response_format.json_schema.Schema",
        ),
        ("/v1/responses", {"model": "m:1", "input": "x", "text": {"format": {"schema": LONG_TEXT}}}, "format"),
        ("/v1/chat/completions", {"model": "m:1", "_debug_render_only": True}, "_debug_render_only"),
        ("/v1/embeddings", {"model": "m:1", "input": ["x"] * 2049}, "input"),
        ("/v1/messages", {"model": "m:1", "tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools"),
        ("/v1/messages", {"model": "m:1", "tools": [{"Type": "web_search_20250305", "name": "w"}]}, "tools.Type"),
    ],
)
def test_wanted_of_a_body_that_would_hurt_others_is_refused(path: str, body: Any, field: str) -> None:
    with pytest.raises(RefusedFieldError) as refused:
        wanted(path, body)
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BOMB}"}}],
        [{"type": "input_image", "image_url": f"data:image/png;base64,{BOMB}"}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BOMB}}],
        [{"type": "image", "Source": {"type": "base64", "media_type": "image/png", "DATA": BOMB}}],
    ],
)
def test_wanted_of_a_picture_bomb_is_refused_wherever_it_is(content: Any) -> None:
    body = {"model": "m:1", "messages": [{"role": "user", "content": content}]}
    hidden = json.dumps(body).replace("data:", "d\\u0061ta:").replace("base64", "b\\u0061se64").encode()
    for written in (body, hidden):
        with pytest.raises(RefusedFieldError, match="60000 x 60000 pixels"):
            wanted("/v1/messages", written)


def test_wanted_of_a_small_picture_is_taken() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert wanted("/v1/chat/completions", {"model": "m:1", "messages": [{"role": "user", "content": [picture]}]}) == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m:1","options":{"num_ctx":9},"options":{},"messages":[]}',
        b'{"model":"m:1","messages":[{"role":"user","content":"a","content":"b"}]}',
    ],
)
def test_wanted_of_a_body_with_a_name_twice_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedFieldError, match="twice"):
        wanted("/api/chat", body)


@pytest.mark.parametrize("model", ["m:1", "library/m:1", "registry.ollama.ai/library/m:1", "M:1"])
def test_body_on_terms_without_a_change_is_the_very_bytes(model: str) -> None:
    body = b'{ "model": "%s",  "x_unknown": 1.50, "messages": [], "options": {"seed": 1} }' % model.encode()
    assert sent("/api/chat", body, options={"seed": 1}) is body


def test_body_on_terms_of_the_lane_is_written_anew_and_keeps_the_rest() -> None:
    body = b'{"model":"m","messages":[],"options":{"seed":1,"num_ctx":99},"keep_alive":0,"x_unknown":[1.5]}'
    assert json.loads(sent("/api/chat", body, options={"seed": 1}, keep_alive="10m")) == {
        "model": "m:1",
        "messages": [],
        "options": {"seed": 1},
        "keep_alive": "10m",
        "x_unknown": [1.5],
    }
    assert json.loads(sent("/api/chat", b'{"model":"m:1","keep_alive":0}')) == {"model": "m:1"}


def test_body_on_terms_with_a_context_window_is_refused_where_it_cannot_be_said() -> None:
    assert json.loads(sent("/api/chat", b'{"model":"m:1"}', options={"num_ctx": 8}))["options"] == {"num_ctx": 8}
    with pytest.raises(RefusedFieldError, match="context window"):
        sent("/v1/chat/completions", b'{"model":"m:1"}', options={"num_ctx": 8})


@pytest.mark.parametrize(
    "path, document, stream",
    [
        ("/api/chat", {}, True),
        ("/api/chat", {"stream": False}, False),
        ("/api/embed", {"stream": True}, False),
        ("/v1/chat/completions", {}, False),
        ("/v1/messages", {"stream": True}, True),
    ],
)
def test_asks_for_stream_follows_the_interface(path: str, document: Any, stream: bool) -> None:
    assert asks_for_stream(path, document) is stream
