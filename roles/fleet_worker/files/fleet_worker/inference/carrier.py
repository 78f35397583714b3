# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to Ollama for carried requests (``_fleet/dialects/carried.py``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional, Union

from .._fleet.carried import CarriedAnswer, CarriedRequest
from .._fleet.messages import Failure, Request
from .._ollama.api_errors import ConnectionLostError, IncompleteResponseError, OllamaError
from .._ollama.calls import Call
from .._ollama.carried_paths import is_stream
from .._ollama.carried_tokens import TokenCounter
from .._ollama.client import Inference, OllamaClient
from .._ollama.response_errors import read
from .._ollama.transport import ResponseHead
from .carried_pieces import CarriedPieces, UnreceivedPieces
from .tries import Conclusion

#: The most bytes of an answer without a stream in one message. Larger answers are sent in pieces.
LARGEST_WHOLE = 256 * 1024

#: The most texts of an embedding request whose answer is certainly small.
FEW_TEXTS = 16

AnyPieces = Union[CarriedPieces, UnreceivedPieces]


class Carrier:
    """Sends carried requests to one Ollama. For any number of threads."""

    def __init__(self, client: OllamaClient) -> None:
        self._client = client

    def inference(self, request: CarriedRequest, model: str) -> Inference:
        """Return the call for a request without a stream, for a caller that does not use the client."""

        def result_of(response: ResponseHead, received: bytes) -> dict[str, Any]:
            return self._judged(response, received, model)

        return Inference(self._client.post_request(request.path, request.body), result_of)

    def run(self, request: CarriedRequest, model: str, call: Call, pieces: AnyPieces) -> CarriedAnswer:
        """Let Ollama answer; send a stream or a large answer in pieces.

        :raises OllamaError: any error of the client.
        """
        with self._client.post(self._client.post_request(request.path, request.body), call) as response:
            if response.status >= 300:
                return self._judged(response, read(response, self._client.url), model)
            content_type = response.headers.get("Content-Type", "")
            in_pieces = is_stream(content_type)
            counter, held = TokenCounter(), bytearray()
            try:
                for chunk in response.chunks():
                    counter.add(chunk)
                    held += chunk
                    in_pieces = in_pieces or len(held) > LARGEST_WHOLE
                    if in_pieces:
                        pieces.add(bytes(held), response.status, content_type, call.check)
                        held.clear()
            except ConnectionLostError as error:
                if pieces.begun:
                    raise IncompleteResponseError(
                        f"Ollama ended its answer early: {error.message}", partial={}
                    ) from error
                raise
            return CarriedAnswer(response.status, content_type, bytes(held), counter.tokens(), streamed=pieces.begun)

    def _judged(self, response: ResponseHead, received: bytes, model: str) -> CarriedAnswer:
        counter = TokenCounter()
        counter.add(received)
        content_type = response.headers.get("Content-Type", "")
        answer = CarriedAnswer(response.status, content_type, received, counter.tokens())
        if response.status >= 300:
            error = self._client.error_of(response, received, model)
            error.answer = answer
            raise error
        return answer


def in_ollamas_words(outcome: Conclusion, error: OllamaError) -> Conclusion:
    """Return the conclusion of a failed carried request with Ollama's own answer, if Ollama has sent one.

    The requester gets this answer unchanged, because it has the format of the requester's interface.
    """
    if isinstance(outcome, Failure) and isinstance(error.answer, CarriedAnswer):
        return replace(outcome, said=error.answer)
    return outcome


def needs_thread(request: Request) -> bool:
    """Return whether a request is too much work for the I/O thread: its answer may be large, or have pieces."""
    carried: Optional[CarriedRequest] = request.carried
    if carried is not None and carried.stream:
        return True
    inputs = (request.arguments if carried is None else carried.document).get("input")
    return isinstance(inputs, list) and len(inputs) > FEW_TEXTS
