# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Streamed answers with one JSON document a line (NDJSON).

The status of a stream is always 200, so Ollama reports a later error as a line ``{"error": ...}``. A stream that
Ollama abandons ends like a complete one. The classes here raise an error in both cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Callable, Optional

from .api_errors import ConnectionLostError, IncompleteResponseError, OllamaError, UnexpectedAnswerError
from .documents import read_object
from .text import printable

#: Bytes of a line; twice the limit of Ollama's own client (api/client.go, maxBufferSize).
MAX_LINE = 16 * 1000 * 1000

#: Characters to keep of an error's message. Ollama quotes the model's text in some of them, and the searches for known
#: words take time in proportion to the square of the length.
MAX_ERROR_TEXT = 2000


def decode_lines(chunks: Iterable[bytes], url: str) -> Iterator[dict[str, Any]]:
    """Yield the document of each line.

    :param url: the address of the server, for messages.
    :raises UnexpectedAnswerError: for a line that is not a JSON object, or longer than :data:`MAX_LINE` bytes.
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _decode(line, url)
        if len(rest) > MAX_LINE:
            raise UnexpectedAnswerError(f"A line of the stream of {url} is longer than {MAX_LINE} bytes")
    if rest.strip():
        yield _decode(rest, url)


def _decode(line: bytes, url: str) -> dict[str, Any]:
    document = read_object(line)
    if document is None:
        raise UnexpectedAnswerError(
            f"The server at {url} is not Ollama: a line of its stream is not a JSON object, {line[:200]!r}",
            remedy="Correct the address; if there is a proxy in between, check whether it changes or cuts answers",
            host=url,
        )
    return document


class LineStream:
    """The lines of one answer. Iterate to the end, or ``close`` the stream, which stops Ollama.

    A stream is a context manager and belongs to one thread. Another thread cancels it through its call.

    :param lines: the documents, to the end of the answer.
    :param finish: releases connection and call; called exactly once.
    :param error_of: makes the error for the text of an error line.
    """

    def __init__(
        self, lines: Iterator[dict[str, Any]], finish: Callable[[], None], error_of: Callable[[str], OllamaError]
    ) -> None:
        self._lines = lines
        self._finish: Optional[Callable[[], None]] = finish
        self._error_of = error_of

    def close(self) -> None:
        """Release the response. If it was not read to its end, the server stops working on it."""
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()

    def _documents(self) -> Iterator[dict[str, Any]]:
        try:
            for document in self._lines:
                if "error" in document:
                    raise self._error_of(error_text(document["error"]))
                yield document
        finally:
            self.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


def error_text(error: object) -> str:
    """Return the beginning of the message of an ``error`` value, at most :data:`MAX_ERROR_TEXT` characters.

    Ollama sends a text, OpenAI-compatible paths and proxies an object.
    """
    if isinstance(error, Mapping) and "message" in error:
        error = error["message"]
    try:
        return str(error)[:MAX_ERROR_TEXT]
    except RecursionError:
        return "an error that is nested too deeply to be shown"


class ProgressStream(LineStream):
    """The progress of pull, push or create: documents ``{status[, digest, total, completed]}``, sizes in bytes.

    If the last status is not ``success``, the stream raises :class:`IncompleteResponseError`.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]:
        last: dict[str, Any] = {}
        cut: Optional[ConnectionLostError] = None
        try:
            for document in self._documents():
                last = document
                yield document
        except ConnectionLostError as error:
            cut = error
        if last.get("status") != "success":
            after = f"The progress ended after {last.get('status', 'nothing')!r}, without success"
            raise IncompleteResponseError(
                f"{after}: {cut.message}" if cut else after,
                partial=last,
                remedy="Try again: the server keeps the transferred bytes. If this repeats, read the server's log",
            ) from cut

    def wait(self) -> dict[str, Any]:
        """Read the stream to its end and return the last document."""
        *_reports, last = self
        return last


@dataclass(frozen=True)
class Event:
    """A piece of a streamed generate or chat.

    :ivar type: ``delta`` for a piece of the answer, ``done`` for its end.
    :ivar text: new text of the answer.
    :ivar thinking: new text of the thinking.
    :ivar tool_calls: new tool calls, in Ollama's format.
    :ivar data: of a delta, the document of the line; of ``done``, the complete response in the form of an unstreamed
        one, with the joined message and the metrics of the last line.
    """

    type: str
    data: dict[str, Any]
    text: str = ""
    thinking: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


class GenerationStream(LineStream):
    """The events of a streamed generate or chat; the last event is ``done``.

    :raises IncompleteResponseError: while iterating, if the answer ends without ``done: true``.
    """

    def __iter__(self) -> Iterator[Event]:
        joined = _Joined()
        done = False
        cut: Optional[ConnectionLostError] = None
        try:
            # Read to the end of the body, so that the pool can reuse the connection.
            for document in self._documents():
                event = _delta(document)
                joined.add(document, event)
                done = done or document.get("done") is True
                if event.text or event.thinking or event.tool_calls:
                    yield event
        except ConnectionLostError as error:
            cut = error
        if not done:
            raise incomplete(joined.response(), cut) from cut
        yield Event("done", joined.response())


def incomplete(partial: dict[str, Any], cut: Optional[ConnectionLostError] = None) -> IncompleteResponseError:
    """Return the error for an answer without ``done: true``.

    Ollama ends an answer early if the model repeats itself endlessly, or if its runner stops.

    :param partial: the received part of the answer.
    :param cut: the loss of the connection, if that was the reason.
    """
    return IncompleteResponseError(
        f"The answer is not complete: {cut.message}" if cut else "The answer ended without done: true",
        partial=partial,
        remedy="The model repeated itself, or its runner stopped: read the server's log, or change the prompt",
    )


def _delta(document: dict[str, Any]) -> Event:
    """Return the event of one line of a generate or chat.

    :raises UnexpectedAnswerError: if a value has a type that Ollama never sends.
    """
    message = document.get("message")
    part, text_key = (message, "content") if isinstance(message, dict) else (document, "response")
    return Event(
        "delta",
        document,
        text=_part_of(part, text_key, str, ""),
        thinking=_part_of(part, "thinking", str, ""),
        tool_calls=[call for call in _part_of(part, "tool_calls", list, []) if _is_tool_call(call)],
    )


def _part_of(part: Mapping[str, Any], name: str, kind: type, absent: Any) -> Any:
    """Return a value of a line; null counts as absent, because Go writes it for an empty list."""
    value = part.get(name)
    if value is None:
        return absent
    if not isinstance(value, kind):
        raise UnexpectedAnswerError(
            f"The server is not Ollama: {name!r} in a line of its stream has the type {type(value).__name__}"
        )
    return value


def _is_tool_call(call: object) -> bool:
    if not isinstance(call, dict):
        raise UnexpectedAnswerError(
            f"The server is not Ollama: a tool call in its stream is {printable(call)} instead of an object"
        )
    return True


class _Joined:
    """The complete response, joined from its pieces."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._role = "assistant"
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._tool_calls: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []

    def add(self, document: dict[str, Any], event: Event) -> None:
        self._last = document
        self._text.append(event.text)
        self._thinking.append(event.thinking)
        self._tool_calls += event.tool_calls
        self._logprobs += _part_of(document, "logprobs", list, [])
        if isinstance(document.get("message"), dict):
            self._role = _part_of(document["message"], "role", str, "") or self._role

    def response(self) -> dict[str, Any]:
        response = dict(self._last)
        is_chat = isinstance(response.get("message"), dict)
        part: dict[str, Any] = {"role": self._role} if is_chat else {}
        part["content" if is_chat else "response"] = "".join(self._text)
        if any(self._thinking):
            part["thinking"] = "".join(self._thinking)
        if self._tool_calls:
            part["tool_calls"] = self._tool_calls
        if is_chat:
            response["message"] = {**response["message"], **part}
        else:
            response.update(part)
        if self._logprobs:
            response["logprobs"] = self._logprobs
        return response
