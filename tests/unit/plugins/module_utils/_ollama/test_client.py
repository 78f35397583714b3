# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.calls import Call
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import InvalidDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.transport import HttpRequest

DIGEST = "sha256:" + hashlib.sha256(b"hello").hexdigest()
BUSY = ("503 Service Unavailable", {"error": "server busy, please try again.  maximum pending requests exceeded"})
CHAT = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True}


# What is sent.


@pytest.mark.parametrize(
    "act, method, path, body",
    [
        (lambda c: c.version(), "GET", "/api/version", None),
        (lambda c: c.tags(), "GET", "/api/tags", None),
        (lambda c: c.ps(), "GET", "/api/ps", None),
        (lambda c: c.show("m"), "POST", "/api/show", {"model": "m", "verbose": False}),
        (lambda c: c.copy("a", "b"), "POST", "/api/copy", {"source": "a", "destination": "b"}),
        (lambda c: c.delete("m"), "DELETE", "/api/delete", {"model": "m"}),
        (
            lambda c: c.chat(model="m", messages=[], options={"seed": 1}),
            "POST",
            "/api/chat",
            {"model": "m", "messages": [], "options": {"seed": 1}, "stream": False},
        ),
        (
            lambda c: c.generate(model="m", prompt="\u00e4", stream=True),
            "POST",
            "/api/generate",
            {"model": "m", "prompt": "\u00e4", "stream": False},
        ),
        (lambda c: c.embed(model="m", input=["a"]), "POST", "/api/embed", {"model": "m", "input": ["a"]}),
    ],
)
def test_requests(lab: Any, act: Any, method: str, path: str, body: Any) -> None:
    client, requests = lab.answering({"done": True})
    act(client)
    assert requests == [(method, path, body)]


@pytest.mark.parametrize(
    "act, path, body",
    [
        (lambda c: c.pull("m"), "/api/pull", {"model": "m", "insecure": False, "stream": True}),
        (lambda c: c.push("m", insecure=True), "/api/push", {"model": "m", "insecure": True, "stream": True}),
        (lambda c: c.create("m", **{"from": "n"}), "/api/create", {"model": "m", "from": "n", "stream": True}),
    ],
)
def test_requests_with_progress(lab: Any, act: Any, path: str, body: Any) -> None:
    client, requests = lab.answering({"status": "success"})
    assert act(client).wait() == {"status": "success"}
    assert requests == [("POST", path, body)]


def test_a_path_in_the_address_comes_first(lab: Any) -> None:
    seen = []

    def script(connection: Any) -> None:
        seen.append(connection.request()[1])
        connection.answer({"models": []})

    lab.client(lab.server(script).address + "/llm/").tags()
    assert seen == ["/llm/api/tags"]


def test_headers_and_credentials(lab: Any) -> None:
    seen = []

    def script(connection: Any) -> None:
        while True:
            headers = connection.request()[2]
            if not headers:
                return
            seen.append(headers)
            connection.answer({"models": []})

    server = lab.server(script)
    lab.client(f"http://me:secret@127.0.0.1:{server.port}", headers={"X-Team": "a"}).tags()
    assert seen[0]["authorization"] == "Basic bWU6c2VjcmV0"
    assert seen[0]["x-team"] == "a"
    lab.client(f"http://me:secret@127.0.0.1:{server.port}", headers={"Authorization": "Bearer b"}).tags()
    assert seen[1]["authorization"] == "Bearer b"


# What comes back.


def test_a_streamed_chat(lab: Any) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.stream(
            {"message": {"role": "assistant", "content": "H"}, "done": False},
            {"message": {"role": "assistant", "content": "i"}, "done": False},
            {"message": {"role": "assistant", "content": ""}, "done": True, "eval_count": 2},
        )

    events = list(lab.client(lab.server(script)).chat_stream(model="m", messages=[]))
    assert [(event.type, event.text) for event in events] == [("delta", "H"), ("delta", "i"), ("done", "")]
    assert events[-1].data["message"]["content"] == "Hi"


def test_done_false_is_incomplete(lab: Any) -> None:
    client, _requests = lab.answering({"message": {"content": "half"}, "done": False})
    with pytest.raises(errors.IncompleteResponseError) as caught:
        client.chat(model="m", messages=[])
    assert caught.value.partial["message"]["content"] == "half"


@pytest.mark.parametrize(
    "status, text, kind, code",
    [
        ("404 Not Found", "model 'm' not found", errors.ModelNotFoundError, "model_not_found"),
        ("400 Bad Request", "invalid options", errors.InvalidRequestError, "invalid_request"),
        ("401 Unauthorized", "unauthorized", errors.AccessDeniedError, "access_denied"),
        ("403 Forbidden", "cloud is disabled", errors.AccessDeniedError, "access_denied"),
        ("500 Internal Server Error", "model runner has unexpectedly stopped", errors.ApiError, "ollama_error"),
    ],
)
def test_errors_keep_status_and_message(lab: Any, status: str, text: str, kind: Any, code: str) -> None:
    client, requests = lab.answering((status, {"error": text}))
    with pytest.raises(kind) as caught:
        client.chat(model="m", messages=[])
    error = caught.value
    assert (error.code, error.status, error.server_message) == (code, int(status[:3]), text)
    assert text in str(error) and client.url in str(error)
    assert error.details["status"] == int(status[:3])
    assert len(requests) == 1


def test_a_model_that_is_missing_is_named(lab: Any) -> None:
    client, _requests = lab.answering(("404 Not Found", {"error": "model 'gone' not found"}))
    with pytest.raises(errors.ModelNotFoundError, match="The model 'gone' was not found") as caught:
        client.show("gone")
    assert caught.value.details["name"] == "gone"


def test_a_refused_stream_is_the_same_error(lab: Any) -> None:
    client, _requests = lab.answering(("404 Not Found", {"error": "model 'gone' not found"}))
    with pytest.raises(errors.ModelNotFoundError):
        client.chat_stream(model="gone", messages=[])


@pytest.mark.parametrize(
    "text, kind",
    [
        ("pull model manifest: file does not exist", errors.ModelNotFoundError),
        ("model 'm' not found", errors.ModelNotFoundError),
        ("llama-quantize unavailable: llama-quantize binary not found (checked: /usr/bin)", errors.ApiError),
        ("open vocab.txt: file does not exist", errors.ApiError),
        ("pull model manifest: 500: oops", errors.ApiError),
    ],
)
def test_an_error_line_of_a_pull(lab: Any, text: str, kind: Any) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.stream({"status": "pulling manifest"}, {"error": text})

    seen = []
    with pytest.raises(errors.ApiError) as caught:
        seen.extend(lab.client(lab.server(script)).pull("m"))
    assert caught.value.code == kind.code
    assert (caught.value.status, caught.value.server_message) == (200, text)


def test_an_error_that_quotes_a_long_text_is_kept_in_part(lab: Any) -> None:
    text = "error parsing tool call: raw='" + "model " * 200_000

    def script(connection: Any) -> None:
        connection.request()
        connection.stream({"error": text})

    with pytest.raises(errors.ApiError) as caught:
        list(lab.client(lab.server(script)).chat_stream(model="m", messages=[]))
    assert caught.value.code == "ollama_error"
    assert text.startswith(caught.value.server_message)
    assert len(caught.value.server_message) == 2000


@pytest.mark.parametrize(
    "answer, complaint",
    [
        (b"<html><head><title>Welcome to nginx!</title></head></html>", "the page 'Welcome to nginx!'"),
        (b"Ollama is running", "'Ollama is running'"),
        (b"[]", "'\\[\\]'"),
        (b"", "nothing"),
        (("502 Bad Gateway", b"<html><title>502 Bad Gateway</title>"), "502 Bad Gateway with the page"),
        (("404 Not Found", b"<h1>Not found</h1>"), "404 Not Found with 'Not found'"),
        (("500 Internal Server Error", b'{"detail": "x"}'), "500 Internal Server Error with"),
    ],
)
def test_something_else_answers(lab: Any, answer: Any, complaint: str) -> None:
    client, _requests = lab.answering(answer)
    with pytest.raises(errors.UnexpectedAnswerError, match=complaint) as caught:
        client.tags()
    assert client.url in str(caught.value)


def test_an_unknown_path_is_an_old_server_or_a_wrong_address(lab: Any) -> None:
    client, _requests = lab.answering(("404 Not Found", b"404 page not found"))
    with pytest.raises(errors.UnsupportedByServerError, match=r"0\.5\.5"):
        client.embed(model="m", input="x")


# What is tried again.


def test_a_busy_server_is_asked_three_times(lab: Any) -> None:
    client, requests = lab.answering(BUSY, BUSY, CHAT)
    assert client.chat(model="m", messages=[]) == CHAT
    assert len(requests) == 3
    client, requests = lab.answering(BUSY, BUSY, BUSY, CHAT)
    with pytest.raises(errors.ServerBusyError, match="maximum pending requests"):
        client.chat(model="m", messages=[])
    assert len(requests) == 3


def test_a_busy_server_is_asked_again_whatever_the_call_does(lab: Any) -> None:
    client, requests = lab.answering(BUSY, {})
    client.delete("m")
    assert len(requests) == 2


@pytest.mark.parametrize("act", [lambda c: c.chat(model="m"), lambda c: c.tags(), lambda c: c.show("m")])
def test_a_cut_connection_is_tried_again_when_nothing_happens_twice(lab: Any, act: Any) -> None:
    client, requests = lab.answering(None, None, CHAT)
    assert act(client) == CHAT
    assert len(requests) == 3


@pytest.mark.parametrize(
    "act",
    [lambda c, k: c.delete("m", call=k), lambda c, k: c.copy("a", "b", call=k), lambda c, k: c.create("m", call=k)],
)
def test_a_cut_connection_is_not_tried_again_when_it_might(lab: Any, act: Any) -> None:
    client, requests = lab.answering(None, {"status": "success"})
    with pytest.raises(errors.ConnectionLostError):
        act(client, None)
    assert len(requests) == 1
    client, requests = lab.answering(None, {"status": "success"})
    act(client, Call(repeatable=True))
    assert len(requests) == 2


def test_the_caller_can_forbid_it(lab: Any) -> None:
    client, requests = lab.answering(None, CHAT)
    with pytest.raises(errors.ConnectionLostError):
        client.chat(model="m", call=Call(repeatable=False))
    assert len(requests) == 1


def test_a_cut_body_is_tried_again_as_a_whole(lab: Any) -> None:
    answers = [
        b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"half',
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"whole": 1}',
    ]

    def script(connection: Any) -> None:
        connection.request()
        connection.send(answers.pop(0))

    assert lab.client(lab.server(script)).tags() == {"whole": 1}


# What the server is too old for.


@pytest.mark.parametrize("field, value", [("think", True), ("logprobs", True)])
def test_field_that_the_server_would_ignore_is_refused(lab: Any, field: str, value: Any) -> None:
    client, requests = lab.answering({"version": "0.6.0"})
    with pytest.raises(errors.UnsupportedByServerError, match=f"does not know {field}"):
        client.chat(model="m", **{field: value})
    assert [path for _method, path, _body in requests] == ["/api/version"]


def test_the_version_is_asked_once_and_again_after_an_upgrade(lab: Any) -> None:
    client, requests = lab.answering({"version": "0.6.0"}, {"version": "0.24.0"}, CHAT, CHAT)
    with pytest.raises(errors.UnsupportedByServerError):
        client.chat(model="m", think=True)
    client.chat(model="m", think=True)
    client.chat(model="m", think=False)
    assert [path for _method, path, _body in requests] == ["/api/version", "/api/version", "/api/chat", "/api/chat"]


# Blobs.


def blob_server(known: set[str], answer_early: bool = False) -> Any:
    """Ollama's blob endpoints as they behave; early: it has got the blob between HEAD and POST."""

    def script(connection: Any) -> None:
        while True:
            method, path, headers, _body = connection.request(read_body=False)
            if not method:
                return
            digest = path.rpartition("/")[2]
            if method == "HEAD":
                found = digest in known
                connection.send(
                    f"HTTP/1.1 {'200 OK' if found else '404 Not Found'}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                continue
            if answer_early:
                known.add(digest)
                connection.answer({})
                return
            body = connection._file.read(int(headers["content-length"]))
            if len(body) < int(headers["content-length"]):
                return
            real = "sha256:" + hashlib.sha256(body).hexdigest()
            known.add(real)
            if real == digest:
                connection.answer(b"", status="201 Created")
            else:
                connection.answer(
                    {"error": f'digest mismatch, expected "{digest}", got "{real}"'}, status="400 Bad Request"
                )

    return script


def test_a_blob_is_uploaded_once(lab: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"hello")
    client = lab.client(lab.server(blob_server(set())))
    assert not client.has_blob(DIGEST)
    assert client.push_blob(DIGEST, path) is True
    assert client.has_blob(DIGEST)
    assert client.push_blob(DIGEST, path) is False
    assert client.push_blob(DIGEST.replace(":", "-"), iter([b"hello"]), size=5) is False


def test_an_upload_from_an_iterator(lab: Any) -> None:
    client = lab.client(lab.server(blob_server(set())))
    assert client.push_blob(DIGEST, iter([b"he", b"l", b"lo"]), size=5) is True


def test_an_empty_blob(lab: Any) -> None:
    client = lab.client(lab.server(blob_server(set())))
    assert client.push_blob("sha256:" + hashlib.sha256(b"").hexdigest(), [], size=0) is True


def test_a_mismatch_names_both_digests(lab: Any) -> None:
    client = lab.client(lab.server(blob_server(set())))
    with pytest.raises(errors.DigestMismatchError) as caught:
        client.push_blob("sha256:" + "0" * 64, [b"hello"], size=5)
    assert DIGEST in str(caught.value) and "0" * 64 in str(caught.value)
    assert caught.value.details["digest"] == DIGEST


def test_an_early_answer_resets_the_sender_and_is_understood(lab: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    digest = "sha256:" + "a" * 64
    for source in (path, (b"x" * 1_000_000 for _index in range(64))):
        client = lab.client(lab.server(blob_server(set(), answer_early=True)))
        assert client.push_blob(digest, source, size=64_000_000) is False


def test_a_file_is_sent_again_after_a_cut_and_an_iterator_is_not(lab: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"hello")

    def flaky() -> Any:
        script, cuts = blob_server(set()), [None]

        def serve(connection: Any) -> None:
            if cuts and connection.sock.recv(4, socket.MSG_PEEK) == b"POST":
                cuts.pop()
                connection.request()
                return
            script(connection)

        return serve

    assert lab.client(lab.server(_each_request_anew(flaky()))).push_blob(DIGEST, path) is True
    with pytest.raises(errors.ConnectionLostError):
        lab.client(lab.server(_each_request_anew(flaky()))).push_blob(DIGEST, iter([b"hello"]), size=5)


def _each_request_anew(script: Any) -> Any:
    """Serve one request a connection, so that a script can look at the first bytes of each."""

    class Once:
        def __init__(self, connection: Any) -> None:
            self._connection, self._left = connection, 1
            self.sock, self._file = connection.sock, connection._file

        def request(self, read_body: bool = True) -> Any:
            self._left -= 1
            return self._connection.request(read_body) if self._left >= 0 else ("", "", {}, b"")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    return lambda connection: script(Once(connection))


def test_a_file_that_vanishes_ends_the_upload(lab: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UploadSourceError, match="No such file"):
        lab.client(lab.server(blob_server(set()))).push_blob(DIGEST, tmp_path / "gone")


def test_a_source_that_fails_midway_leaves_a_usable_client(lab: Any) -> None:
    ended = threading.Event()
    script = blob_server(set())

    def watched(connection: Any) -> None:
        script(connection)
        ended.set()

    client = lab.client(lab.server(watched))
    with pytest.raises(errors.UploadSourceError, match="ended after 2 of 5"):
        client.push_blob(DIGEST, [b"he"], size=5)
    assert ended.wait(60), "the server still waits for the rest"
    assert client.push_blob(DIGEST, [b"hello"], size=5) is True


def test_a_digest_is_checked_before_it_becomes_a_path(lab: Any) -> None:
    client, requests = lab.answering()
    for act in (client.has_blob, lambda digest: client.push_blob(digest, [b""], size=0)):
        with pytest.raises(InvalidDigestError):
            act("sha256:../../etc/passwd")
    assert requests == []


# Many threads, one client.


def test_many_threads_share_a_client(lab: Any) -> None:
    def script(connection: Any) -> None:
        while True:
            method, _path, _headers, body = connection.request()
            if not method:
                return
            asked = json.loads(body)
            time.sleep(0.001)
            if asked["stream"]:
                connection.stream(
                    {"response": asked["prompt"], "done": False},
                    {"response": "", "done": True, "model": asked["prompt"]},
                )
            else:
                connection.answer({"response": asked["prompt"], "done": True})

    server = lab.server(script)
    client = lab.client(server)

    def ask(number: int) -> None:
        prompt = f"question {number}"
        if number % 3 == 0:
            call = Call()
            threading.Timer(0.002, call.cancel).start()
            with contextlib.suppress(errors.CallCancelledError):
                client.generate(model="m", prompt=prompt, call=call)
        elif number % 3 == 1:
            assert client.generate(model="m", prompt=prompt)["response"] == prompt
        else:
            events = list(client.generate_stream(model="m", prompt=prompt))
            assert events[-1].data["response"] == prompt

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(600)))


def test_another_transport_can_take_the_place() -> None:
    class Answer:
        status, reason, headers = 200, "OK", {}

        def chunks(self) -> Any:
            yield b'{"version": "1"}'

        def close(self) -> None:
            pass

    class Recording:
        def __init__(self) -> None:
            self.sent: list[HttpRequest] = []

        def send(self, request: HttpRequest, call: Call) -> Any:
            assert call.connect_timeout and call.read_timeout
            self.sent.append(request)
            return Answer()

        def close(self) -> None:
            pass

    recording = Recording()
    assert OllamaClient("gpu", transport=recording).version() == {"version": "1"}
    assert [(request.method, request.path, request.body) for request in recording.sent] == [
        ("GET", "/api/version", None)
    ]
