# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The client of Ollama's HTTP API, for the modules and the daemons.

.. code-block:: python

    client = OllamaClient("http://127.0.0.1:11434")
    answer = client.chat(model="smollm2:135m", messages=[{"role": "user", "content": "Hello"}])
    for event in client.chat_stream(model="smollm2:135m", messages=[...]):
        print(event.text, end="")
    call = Call(total_timeout=60)           # own deadlines; another thread may use call.cancel()
    client.embed(model="all-minilm", input=["a", "b"], call=call)

Plain methods return the document of the server unchanged; streams yield events. The fields of bodies are those of
Ollama's own documentation (docs/api.md), and reach the server unchanged.

Many threads may use one client. A :class:`Call` and its stream belong to one thread; other threads may only cancel
them, with ``Call.cancel`` or ``OllamaClient.cancel``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple, Optional, TypeVar, Union

from . import features, response_errors
from .api_errors import ConnectionLostError, OllamaError, UnexpectedAnswerError
from .calls import Call
from .digests import parse_digest
from .documents import write_object
from .header_fields import check_header
from .hosts import parse_host
from .retry import RetryPolicy
from .streams import GenerationStream, ProgressStream, decode_lines, error_text, incomplete
from .transport import HttpRequest, HttpResponse, RequestsTransport, ResponseHead, TlsSettings, Transport
from .uploads import Source, Upload

_Result = TypeVar("_Result")


class Inference(NamedTuple):
    """An inference as an HTTP request.

    :ivar request: the request to send.
    :ivar result_of: makes the result from the response and its whole body; raises the errors of the client's method
        for the same inference.
    """

    request: HttpRequest
    result_of: Callable[[ResponseHead, bytes], dict[str, Any]]


#: Seconds for a connection attempt.
CONNECT_TIMEOUT = 10.0
#: Seconds that a server may be silent: it is silent while it loads a model, for up to 5 minutes (OLLAMA_LOAD_TIMEOUT),
#: and until an answer that is not streamed is complete.
READ_TIMEOUT = 300.0


class OllamaClient:
    """A client of one server.

    This class is long because it has one method for each function of Ollama's API, with its documentation.

    :param host: the address in any form of ``OLLAMA_HOST``; None takes the environment variable.
    :param connect_timeout: seconds for a connection attempt, all addresses of the host together.
    :param read_timeout: seconds that the server may stay silent.
    :param total_timeout: seconds for a call as a whole, retries included; None for no limit.
    :param retries: how often a failed call is repeated (2: three tries), or a complete policy.
    :param headers: sent with every request, such as ``Authorization`` for a reverse proxy.
    :param tls: the verification of the server, and the client certificate.
    :param transport: sends the HTTP requests instead of the library ``requests``.
    :raises InvalidServerError: for an address, headers or TLS files that cannot be used.
    :raises MissingDependencyError: without ``requests``, when no transport is given.
    """

    def __init__(
        self,
        host: Optional[str] = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        total_timeout: Optional[float] = None,
        retries: Union[int, RetryPolicy] = RetryPolicy.retries,
        headers: Optional[Mapping[str, str]] = None,
        tls: Optional[TlsSettings] = None,
        transport: Optional[Transport] = None,
    ) -> None:
        address = parse_host(host)
        #: The address without credentials, for messages.
        self.url = address.url
        self._timeouts = (connect_timeout, read_timeout, total_timeout)
        self._policy = retries if isinstance(retries, RetryPolicy) else RetryPolicy(retries)
        self._headers = {
            "User-Agent": "legionio.ollama",
            "Accept": "application/json, application/x-ndjson",
            # A stream that a proxy compresses arrives in bursts.
            "Accept-Encoding": "identity",
            **({"Authorization": address.authorization} if address.authorization else {}),
            **(headers or {}),
        }
        for name, value in self._headers.items():
            check_header(name, value)
        self._transport = transport or RequestsTransport(address, tls)
        self._in_flight: set[Call] = set()
        self._lock = threading.Lock()
        self._version: Optional[str] = None

    def close(self) -> None:
        """Cancel the calls in flight, and close the connections."""
        self.cancel()
        self._transport.close()

    def close_idle(self) -> None:
        """Close the idle connections; calls in flight keep theirs."""
        self._transport.close()

    def cancel(self) -> None:
        """Cancel every call in flight. The client can be used again afterwards."""
        with self._lock:
            calls = list(self._in_flight)
        for call in calls:
            call.cancel()

    def __enter__(self) -> OllamaClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Server

    def version(self, *, call: Optional[Call] = None) -> dict[str, Any]:
        """Return ``{version}``. A build from source returns ``0.0.0``."""
        return self._document("GET", "/api/version", call=call)

    def tags(self, *, call: Optional[Call] = None) -> dict[str, Any]:
        """Return ``{models: [...]}``, the server's models. ``digest`` is the SHA-256 of the manifest file."""
        return self._document("GET", "/api/tags", call=call)

    def ps(self, *, call: Optional[Call] = None) -> dict[str, Any]:
        """Return ``{models: [...]}``, the loaded models with expiry and memory (bytes)."""
        return self._document("GET", "/api/ps", call=call)

    def show(self, model: str, *, verbose: bool = False, call: Optional[Call] = None) -> dict[str, Any]:
        """Return the details of a model.

        :raises ModelNotFoundError: when the server does not have it.
        """
        return self._document("POST", "/api/show", {"model": model, "verbose": verbose}, repeatable=True, call=call)

    # Inference (repeatable: an answer changes nothing on the server, and a broken connection ends the first try)

    def chat(self, *, call: Optional[Call] = None, **body: Any) -> dict[str, Any]:
        """Return the answer to ``messages``, not streamed.

        :raises IncompleteResponseError: when the answer lacks ``done: true``; ``partial`` has the received part.
        """
        return self._infer("chat", body, call)

    def generate(self, *, call: Optional[Call] = None, **body: Any) -> dict[str, Any]:
        """Return the continuation of ``prompt``, not streamed. Without a prompt, load the model.

        :raises IncompleteResponseError: as :meth:`chat`.
        """
        return self._infer("generate", body, call)

    def chat_stream(self, *, call: Optional[Call] = None, **body: Any) -> GenerationStream:
        """Return the answer to ``messages`` as a stream of :class:`Event`."""
        return self._generation("chat", body, call)

    def generate_stream(self, *, call: Optional[Call] = None, **body: Any) -> GenerationStream:
        """Return the continuation of ``prompt`` as a stream of :class:`Event`."""
        return self._generation("generate", body, call)

    def embed(self, *, call: Optional[Call] = None, **body: Any) -> dict[str, Any]:
        """Return ``{embeddings: [[...], ...]}``, one vector for each text of ``input``."""
        return self._infer("embed", body, call)

    def inference(self, kind: str, body: Mapping[str, Any]) -> Optional[Inference]:
        """Return an inference for a caller that sends it without this client, once and without a retry.

        :param kind: ``chat``, ``generate`` or ``embed``; not streamed.
        :return: None if the client would have to read the server's version first, for a field of the body.
        """
        needs = features.needed_by(kind, body)
        if needs and (self._version is None or features.lacking(self._version, needs)):
            return None
        return self._inference(kind, body)

    # Bodies passed through unchanged

    def post_request(self, path: str, content: bytes) -> HttpRequest:
        """Return the request for an unchanged JSON body."""
        return HttpRequest("POST", path, content, {**self._headers, "Content-Type": "application/json"})

    @contextmanager
    def post(self, request: HttpRequest, call: Call) -> Iterator[HttpResponse]:
        """Send a request once, without a retry; return the response of any status."""
        with self._begun(call) as begun:
            response = self._transport.send(request, begun)
            try:
                yield response
            finally:
                response.close()

    def error_of(self, response: ResponseHead, content: bytes, model: str) -> OllamaError:
        """Return the error for a response with a status of 300 or more."""
        return response_errors.error(response, content, self.url, {"model": model})

    # Models (after a failure with an unknown outcome only a pull is repeated: it resumes the first pull)

    def pull(self, model: str, *, insecure: bool = False, call: Optional[Call] = None) -> ProgressStream:
        """Download a model from its registry.

        :param insecure: talk plain HTTP to the registry.
        :raises ModelNotFoundError: while iterating, when the registry does not have it.
        """
        return self._progress("/api/pull", {"model": model, "insecure": insecure}, model, call, repeatable=True)

    def push(self, model: str, *, insecure: bool = False, call: Optional[Call] = None) -> ProgressStream:
        """Upload a model to its registry."""
        return self._progress("/api/push", {"model": model, "insecure": insecure}, model, call)

    def create(self, model: str, *, call: Optional[Call] = None, **body: Any) -> ProgressStream:
        """Create a model from another one (``from``, written as ``**{"from": name}``) or from blobs (``files``)."""
        return self._progress("/api/create", {"model": model, **body}, model, call)

    def copy(self, source: str, destination: str, *, call: Optional[Call] = None) -> None:
        """Give a model a second name.

        :raises ModelNotFoundError: when the server does not have ``source``.
        """
        self._read("POST", "/api/copy", {"source": source, "destination": destination}, call=call)

    def delete(self, model: str, *, call: Optional[Call] = None) -> None:
        """Remove a model, and the blobs that no other model uses.

        :raises ModelNotFoundError: when the server does not have it.
        """
        self._read("DELETE", "/api/delete", {"model": model}, call=call)

    # Blobs

    def has_blob(self, digest: str, *, call: Optional[Call] = None) -> bool:
        """Return whether the server has a blob of this digest. The server checks only that the file exists."""

        with self._begun(call) as begun:
            return self._has_blob(parse_digest(digest), begun)

    def _has_blob(self, digest: str, call: Call) -> bool:
        def existing(response: HttpResponse, body: bytes) -> bool:
            if response.status == 404:
                return False
            self._raise_for(response, body, None)
            return True

        return self._send(HttpRequest("HEAD", f"/api/blobs/{digest}", None, self._headers), existing, True, call)

    def push_blob(
        self,
        digest: str,
        source: Source,
        *,
        size: Optional[int] = None,
        on_bytes: Callable[[int], None] = lambda count: None,
        call: Optional[Call] = None,
    ) -> bool:
        """Upload a blob unless the server has it; return whether it was uploaded.

        :param source: the path of a file, or an iterable of bytes whose total ``size`` is given.
        :param on_bytes: called with the number of bytes sent; repeated bytes count again.
        :raises DigestMismatchError: when the received bytes have another digest.
        :raises UploadSourceError: when the source cannot be read, or its length changes.
        """
        digest = parse_digest(digest)
        headers = {**self._headers, "Content-Type": "application/octet-stream"}

        def created(response: HttpResponse, body: bytes) -> bool:
            self._raise_for(response, body, None)
            return response.status == 201

        with self._begun(call) as begun:
            if self._has_blob(digest, begun):
                return False
            upload = Upload(source, size, on_bytes=on_bytes)
            request = HttpRequest("POST", f"/api/blobs/{digest}", upload, headers)
            try:
                return self._send(request, created, upload.repeatable, begun)
            except ConnectionLostError:
                # If the server has the blob by now, it responds without reading the body, and resets the connection.
                # The response may get lost, so check again.
                if self._has_blob(digest, begun):
                    return False
                raise

    # HTTP calls

    def _infer(self, kind: str, body: dict[str, Any], call: Optional[Call]) -> dict[str, Any]:
        with self._begun(call) as begun:
            self._require_features(kind, body, begun)
            inference = self._inference(kind, body)
            return self._send(inference.request, inference.result_of, True, begun)

    def _inference(self, kind: str, body: Mapping[str, Any]) -> Inference:
        def result_of(response: ResponseHead, received: bytes) -> dict[str, Any]:
            self._raise_for(response, received, body)
            document = response_errors.document(received, self.url)
            if "error" in document:
                raise response_errors.late_error(error_text(document["error"]), self.url, body.get("model"))
            if kind != "embed" and document.get("done") is not True:
                raise incomplete(document)
            return document

        sent = body if kind == "embed" else {**body, "stream": False}
        return Inference(self._json_request("POST", f"/api/{kind}", sent), result_of)

    def _document(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        repeatable: bool = False,
        call: Optional[Call] = None,
    ) -> dict[str, Any]:
        content = self._read(method, path, body, repeatable=repeatable, call=call)
        return response_errors.document(content, self.url)

    def _read(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        repeatable: bool = False,
        call: Optional[Call] = None,
    ) -> bytes:
        def content(response: HttpResponse, received: bytes) -> bytes:
            self._raise_for(response, received, body)
            return received

        with self._begun(call) as begun:
            return self._send(self._json_request(method, path, body), content, repeatable or method == "GET", begun)

    def _send(
        self,
        request: HttpRequest,
        result_of: Callable[[HttpResponse, bytes], _Result],
        repeatable: bool,
        call: Call,
    ) -> _Result:
        """Send a request, read the whole response, and return the result; repeat as the retry policy allows.

        :param call: a begun call; it can send several requests, one after the other.
        """

        def once() -> _Result:
            response = self._transport.send(request, call)
            try:
                return result_of(response, response_errors.read(response, self.url))
            finally:
                response.close()

        return self._with_retries(once, repeatable, call)

    def _generation(self, kind: str, body: dict[str, Any], call: Optional[Call]) -> GenerationStream:
        def check(begun: Call) -> None:
            self._require_features(kind, body, begun)

        lines, finish = self._open(f"/api/{kind}", {**body, "stream": True}, call, repeatable=True, check=check)
        return GenerationStream(
            lines, finish, lambda text: response_errors.late_error(text, self.url, body.get("model"))
        )

    def _progress(
        self, path: str, body: dict[str, Any], model: str, call: Optional[Call], *, repeatable: bool = False
    ) -> ProgressStream:
        lines, finish = self._open(path, {**body, "stream": True}, call, repeatable=repeatable)
        return ProgressStream(lines, finish, lambda text: response_errors.late_error(text, self.url, model))

    def _open(
        self,
        path: str,
        body: Mapping[str, Any],
        call: Optional[Call],
        *,
        repeatable: bool,
        check: Callable[[Call], None] = lambda call: None,
    ) -> tuple[Iterator[dict[str, Any]], Callable[[], None]]:
        """Send a request; return the documents of the stream, and the function that releases the stream.

        Retries end with the head of the response.

        :param check: called first, within the limits of the call; raises an error if the request must not be sent.
        """
        begun = self._begin(call)
        request = self._json_request("POST", path, body)

        def once() -> HttpResponse:
            response = self._transport.send(request, begun)
            if response.status < 300:
                return response
            try:
                self._raise_for(response, response_errors.read(response, self.url), body)
            finally:
                response.close()
            raise UnexpectedAnswerError(f"{self.url} answered {response.status} {response.reason} to {path}")

        try:
            check(begun)
            response = self._with_retries(once, repeatable, begun)
        except BaseException:
            self._finish(begun)
            raise

        def finish() -> None:
            response.close()
            self._finish(begun)

        return decode_lines(response.chunks(), self.url), finish

    def _with_retries(self, once: Callable[[], _Result], repeatable: bool, call: Call) -> _Result:
        if call.repeatable is not None:
            repeatable = call.repeatable
        failures = 0
        while True:
            call.check()
            try:
                return once()
            except OllamaError as error:
                failures += 1
                if not self._policy.retries_after(error, failures=failures, repeatable=repeatable):
                    raise
                call.wait(self._policy.delay(failures))

    @contextmanager
    def _begun(self, call: Optional[Call]) -> Iterator[Call]:
        begun = self._begin(call)
        try:
            yield begun
        finally:
            self._finish(begun)

    def _begin(self, call: Optional[Call]) -> Call:
        call = call or Call()
        connect, read, total = self._timeouts
        call.connect_timeout = connect if call.connect_timeout is None else call.connect_timeout
        call.read_timeout = read if call.read_timeout is None else call.read_timeout
        call.total_timeout = total if call.total_timeout is None else call.total_timeout
        call.begin()
        with self._lock:
            self._in_flight.add(call)
        return call

    def _finish(self, call: Call) -> None:
        with self._lock:
            self._in_flight.discard(call)
        call.finish()

    def _json_request(self, method: str, path: str, body: Optional[Mapping[str, Any]]) -> HttpRequest:
        if body is None:
            return HttpRequest(method, path, None, self._headers)
        return HttpRequest(method, path, write_object(body), {**self._headers, "Content-Type": "application/json"})

    def _raise_for(self, response: ResponseHead, content: bytes, body: Optional[Mapping[str, Any]]) -> None:
        if response.status >= 300:
            raise response_errors.error(response, content, self.url, body or {})

    def _require_features(self, kind: str, body: Mapping[str, Any], call: Call) -> None:
        """Refuse fields that the server would ignore. Read its version once, and again before a refusal.

        :param call: the begun call of the request, whose deadline and cancellation also apply here.
        """

        def version_of(response: HttpResponse, received: bytes) -> str:
            self._raise_for(response, received, None)
            return str(response_errors.document(received, self.url).get("version", ""))

        needs = features.needed_by(kind, body)
        if not needs:
            return
        if self._version is None or features.lacking(self._version, needs):
            self._version = self._send(self._json_request("GET", "/api/version", None), version_of, True, call)
        name = features.lacking(self._version, needs)
        if name:
            raise features.unsupported(name, needs[name], self._version)
