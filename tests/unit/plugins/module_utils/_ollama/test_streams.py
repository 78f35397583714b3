# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import streams
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import (
    ConnectionLostError,
    IncompleteResponseError,
    OllamaError,
    UnexpectedAnswerError,
)

URL = "http://gpu:1"


class Ending:
    """Counts how often a stream releases its connection."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def generation(*lines: Any, ending: Any = None) -> streams.GenerationStream:
    return streams.GenerationStream(iter(lines), ending or Ending(), OllamaError)


def test_lines_may_arrive_in_any_pieces() -> None:
    data = b'{"a": 1}\n{"b": "\xc3\xa4"}\n\n{"c": 3}'
    for size in range(1, len(data) + 1):
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert list(streams.decode_lines(pieces, URL)) == [{"a": 1}, {"b": "ä"}, {"c": 3}]


@pytest.mark.parametrize("line", [b"<html>\n", b"[1]\n", b'"text"\n', b'{"half": ', b"\xff\n"])
def test_a_line_that_is_no_document(line: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError, match=r"http://gpu:1 is not Ollama: .*not a JSON object"):
        list(streams.decode_lines([b'{"a": 1}\n', line], URL))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    def endless() -> Any:
        while True:
            yield b"x" * 1_000_000

    with pytest.raises(UnexpectedAnswerError, match="longer than"):
        list(streams.decode_lines(endless(), URL))


def test_a_chat_adds_up() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    ending = Ending()
    events = list(
        generation(
            {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "Hm"}, "done": False},
            {"model": "m", "message": {"role": "assistant", "content": "Hel", "thinking": ""}, "done": False},
            {"model": "m", "message": {"role": "assistant", "content": "lo", "tool_calls": [call]}, "done": False},
            {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "eval_count": 3},
            ending=ending,
        )
    )
    assert [(e.type, e.text, e.thinking, e.tool_calls) for e in events] == [
        ("delta", "", "Hm", []),
        ("delta", "Hel", "", []),
        ("delta", "lo", "", [call]),
        ("done", "", "", []),
    ]
    assert events[-1].data == {
        "model": "m",
        "message": {"role": "assistant", "content": "Hello", "thinking": "Hm", "tool_calls": [call]},
        "done": True,
        "eval_count": 3,
    }
    assert ending.count == 1


def test_a_generate_adds_up_with_text_in_its_last_line_and_logprobs() -> None:
    events = list(
        generation(
            {"response": "a", "done": False, "logprobs": [{"token": "a"}]},
            {"response": "b", "done": True, "logprobs": [{"token": "b"}], "context": [1, 2]},
        )
    )
    assert [e.type for e in events] == ["delta", "delta", "done"]
    assert events[-1].data == {
        "response": "ab",
        "done": True,
        "context": [1, 2],
        "logprobs": [{"token": "a"}, {"token": "b"}],
    }


def test_an_end_without_done_is_incomplete_and_keeps_what_came() -> None:
    ending = Ending()
    with pytest.raises(IncompleteResponseError) as caught:
        list(generation({"response": "half", "done": False}, ending=ending))
    assert caught.value.partial["response"] == "half"
    assert ending.count == 1


def test_empty_stream_is_incomplete() -> None:
    with pytest.raises(IncompleteResponseError):
        list(generation())


def test_a_cut_connection_is_incomplete_and_says_how_it_broke() -> None:
    def lines() -> Any:
        yield {"response": "half", "done": False}
        raise ConnectionLostError("The connection broke")

    with pytest.raises(IncompleteResponseError, match="The connection broke") as caught:
        list(streams.GenerationStream(lines(), Ending(), OllamaError))
    assert caught.value.partial["response"] == "half"


def test_a_cut_after_done_does_not_matter() -> None:
    def lines() -> Any:
        yield {"response": "all", "done": True}
        raise ConnectionLostError("The connection broke")

    assert list(streams.GenerationStream(lines(), Ending(), OllamaError))[-1].data["response"] == "all"


@pytest.mark.parametrize("error", ["out of memory", {"message": "out of memory", "type": "api_error"}])
def test_an_error_line_is_an_error(error: Any) -> None:
    ending = Ending()
    with pytest.raises(OllamaError, match=r"^out of memory\.$"):
        list(generation({"response": "a", "done": False}, {"error": error}, ending=ending))
    assert ending.count == 1


def test_a_stream_that_is_left_early_lets_go() -> None:
    ending = Ending()
    with generation({"response": "a"}, {"response": "b"}, {"done": True}, ending=ending) as stream:
        for event in stream:
            assert event.text == "a"
            break
    stream.close()
    assert ending.count == 1


def progress(*lines: Any) -> streams.ProgressStream:
    return streams.ProgressStream(iter(lines), Ending(), OllamaError)


def test_progress_ends_with_success() -> None:
    assert progress({"status": "pulling manifest"}, {"status": "success"}).wait() == {"status": "success"}


@pytest.mark.parametrize("lines", [[], [{"status": "pulling manifest"}], [{"status": "success"}, {"status": "x"}]])
def test_progress_without_success_at_its_end_is_incomplete(lines: list[Any]) -> None:
    with pytest.raises(IncompleteResponseError, match="without success"):
        progress(*lines).wait()


def test_events_are_what_json_makes_of_them() -> None:
    line = {"message": {"role": "assistant", "content": "x"}, "done": False, "created_at": "2026-01-01T00:00:00Z"}
    (event,) = [e for e in generation(line, {"message": {"content": ""}, "done": True}) if e.type == "delta"]
    assert json.loads(json.dumps(event.data)) == line


@pytest.mark.parametrize("wrong", [["a"], 7, {"a": 1}, True, 0.5])
@pytest.mark.parametrize("part", ["content", "thinking", "tool_calls", "role"])
def test_generation_with_a_part_of_a_wrong_type_is_refused(part: str, wrong: Any) -> None:
    line = {"message": {"role": "assistant", part: wrong}, "done": False}
    ending = Ending()
    with pytest.raises(UnexpectedAnswerError, match="is not Ollama"):
        list(generation(line, ending=ending))
    assert ending.count == 1


@pytest.mark.parametrize("part", ["response", "thinking", "tool_calls", "logprobs"])
def test_generation_of_text_with_a_part_of_a_wrong_type_is_refused(part: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match="is not Ollama"):
        list(generation({part: 7, "done": True}))


def test_generation_with_null_for_what_is_absent_is_read() -> None:
    line = {"message": {"role": None, "content": None, "tool_calls": None}, "logprobs": None, "done": True}
    (done,) = generation(line)
    assert done.data["message"] == {"role": "assistant", "content": "", "tool_calls": None}


def test_error_line_that_is_nested_too_deeply_is_an_error() -> None:
    deep: Any = []
    for _level in range(100_000):
        deep = [deep]
    with pytest.raises(OllamaError, match="nested"):
        list(generation({"error": deep}))
