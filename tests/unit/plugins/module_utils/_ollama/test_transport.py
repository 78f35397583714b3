# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import trustme
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import transport
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import (
    ConnectionLostError,
    InvalidServerError,
    ReadTimeoutError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.transport import TlsSettings


def always(document: Any) -> Any:
    def script(connection: Any) -> None:
        while connection.request()[0]:
            connection.answer(document)

    return script


# The connection.


def test_a_connection_serves_many_calls(lab: Any) -> None:
    server = lab.server(always({"models": []}))
    client = lab.client(server)
    for _call in range(5):
        client.tags()
    assert server.connections == 1


def test_a_client_that_was_closed_can_be_used_again(lab: Any) -> None:
    server = lab.server(always({"models": []}))
    client = lab.client(server)
    for _use in range(2):
        assert client.tags() == {"models": []}
        client.close()
    assert server.connections == 2


def test_a_request_comes_in_one_piece(lab: Any) -> None:
    """A server that is woken by the head alone would be woken twice."""
    pieces: list[bytes] = []

    def script(connection: Any) -> None:
        for _call in range(3):
            pieces.append(connection.sock.recv(65536))
            connection.answer({"embeddings": []})

    client = lab.client(lab.server(script))
    for number in range(3):
        client.embed(model="m", input=f"text {number}")
    assert [piece.startswith(b"POST /api/embed HTTP/1.1\r\n") for piece in pieces] == [True] * 3
    assert [f"text {number}".encode() in piece for number, piece in enumerate(pieces)] == [True] * 3


def test_a_stream_read_to_its_end_gives_its_connection_back(lab: Any) -> None:
    def script(connection: Any) -> None:
        while connection.request()[0]:
            connection.stream({"response": "a", "done": False}, {"response": "", "done": True})

    server = lab.server(script)
    client = lab.client(server)
    for _call in range(3):
        list(client.generate_stream(model="m"))
    assert server.connections == 1


def test_a_stream_left_early_ends_its_connection(lab: Any) -> None:
    ended = threading.Event()

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        connection.line({"response": "a", "done": False})
        if connection.wait_for_end():
            ended.set()

    with lab.client(lab.server(script)).generate_stream(model="m") as stream:
        next(iter(stream))
    assert ended.wait(60)


def test_a_connection_that_the_server_closed_while_idle_is_replaced(lab: Any) -> None:
    closed = threading.Semaphore(0)

    def script(connection: Any) -> None:
        connection.request()
        connection.answer({"models": []})
        connection.sock.shutdown(socket.SHUT_WR)
        closed.release()

    server = lab.server(script)
    client = lab.client(server, retries=0)
    for _call in range(3):
        client.tags()
        assert closed.acquire(timeout=60)
    assert server.connections == 3


def test_every_address_of_a_host_is_tried(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = lab.server(always({"models": []}))
    real = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: Any) -> Any:
        (found,) = real("127.0.0.1", port, *rest)
        return [(*found[:4], ("127.0.0.1", 1)), found]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    assert lab.client(f"gpu.example:{server.port}", retries=0).tags() == {"models": []}


def test_refused(lab: Any) -> None:
    with pytest.raises(ServerUnreachableError, match=r"No connection to 127\.0\.0\.1 port 1 .*Connection refused"):
        lab.client("127.0.0.1:1", retries=0).tags()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".example"])
def test_unknown_host(lab: Any, host: str) -> None:
    with pytest.raises(ServerUnreachableError, match="cannot be resolved"):
        lab.client(host, retries=0).tags()


def test_silence(lab: Any) -> None:
    server = lab.server(lambda connection: (connection.request(), time.sleep(15)))
    with pytest.raises(ReadTimeoutError, match=r"sent nothing for 0\.2 seconds"):
        lab.client(server, read_timeout=0.2, retries=0).tags()


def test_silence_in_the_body(lab: Any) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        connection.line({"response": "a", "done": False})
        time.sleep(15)

    with pytest.raises(ReadTimeoutError):
        list(lab.client(lab.server(script), read_timeout=0.2).generate_stream(model="m"))


def test_hung_up(lab: Any) -> None:
    server = lab.server(lambda connection: connection.request())
    with pytest.raises(ConnectionLostError, match="the server closed the connection"):
        lab.client(server, retries=0).tags()


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"models": []}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_cut_in_the_body(lab: Any, answer: bytes) -> None:
    server = lab.server(lambda connection: (connection.request(), connection.send(answer)))
    with pytest.raises(ConnectionLostError, match="the server closed the connection"):
        lab.client(server, retries=0).tags()


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail.example ESMTP\r\n", b"\0\1\2\3\r\n"])
def test_another_protocol(lab: Any, banner: bytes) -> None:
    server = lab.server(lambda connection: (connection.send(banner), time.sleep(0.5)))
    with pytest.raises(UnexpectedAnswerError, match="does not speak HTTP"):
        lab.client(server).tags()


def test_pieces_of_an_answer_without_length_arrive_as_they_come(lab: Any) -> None:
    arrived = threading.Event()

    def script(connection: Any) -> None:
        connection.request()
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n" + b'{"response": "a", "done": false}\n')
        if arrived.wait(15):  # or else the answer has no end
            connection.send(b'{"response": "", "done": true}\n')

    stream = iter(lab.client(lab.server(script)).generate_stream(model="m"))
    assert next(stream).text == "a"
    arrived.set()
    assert [event.type for event in stream] == ["done"]


def test_a_compressed_answer_is_understood_and_not_asked_for(lab: Any) -> None:
    asked = []

    def script(connection: Any) -> None:
        asked.append(connection.request()[2]["accept-encoding"])
        connection.answer(gzip.compress(b'{"models": []}'), headers="Content-Encoding: gzip\r\n")

    assert lab.client(lab.server(script)).tags() == {"models": []}
    assert asked == ["identity"]


def test_cookies_and_netrc_stay_out_of_it(lab: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []

    def script(connection: Any) -> None:
        for _call in range(2):
            seen.append(connection.request()[2])
            connection.answer({"models": []}, headers="Set-Cookie: a=b\r\n")

    client = lab.client(lab.server(script), headers={"Authorization": "Bearer mine"})
    client.tags()
    client.tags()
    assert [headers["authorization"] for headers in seen] == ["Bearer mine"] * 2
    assert not any("cookie" in headers for headers in seen)


def test_a_redirect_is_an_error_that_names_its_target(lab: Any) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.answer(b"", status="301 Moved Permanently", headers="Location: https://real.example/x?token=t\r\n")

    with pytest.raises(UnexpectedAnswerError, match=r"redirects to https://real\.example/x\. ") as caught:
        lab.client(lab.server(script)).tags()
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: \u00b2\r\n",
        f"Content-Length: {'9' * 5000}\r\n",
        "Transfer-Encoding: gzip\r\n",
        "X: a\r\n folded\r\nContent-Length: 2\r\n",
        "no header\r\nContent-Length: 2\r\n",
        "X: y\r\n" * 200,
    ],
)
def test_answer_whose_end_is_not_certain_is_refused(lab: Any, head: str) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.send(f"HTTP/1.1 200 OK\r\n{head}\r\n{{}}".encode("latin-1"))

    with pytest.raises(UnexpectedAnswerError, match="does not speak HTTP"):
        lab.client(lab.server(script), retries=0).tags()


@pytest.mark.parametrize("size", [b"-5", b"ffffffffffffffff", b"zz", b""])
def test_answer_with_an_impossible_chunk_is_refused(lab: Any, size: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def script(connection: Any) -> None:
        connection.request()
        connection.send(head + size + b"\r\n{}\r\n0\r\n\r\n")

    with pytest.raises((UnexpectedAnswerError, ConnectionLostError)):
        lab.client(lab.server(script)).tags()


def test_interim_answers_before_the_answer_are_skipped(lab: Any) -> None:
    def script(connection: Any) -> None:
        while connection.request()[0]:
            connection.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            connection.answer({"models": []})

    server = lab.server(script)
    client = lab.client(server, retries=0)
    assert [client.tags(), client.tags()] == [{"models": []}] * 2
    assert server.connections == 1


@pytest.mark.parametrize("interim", [b"HTTP/1.1 102 Processing\r\n\r\n" * 20, b"HTTP/1.1 101 Other\r\n\r\n"])
def test_interim_answers_without_an_answer_are_refused(lab: Any, interim: bytes) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.send(interim)

    with pytest.raises(UnexpectedAnswerError, match="does not speak HTTP"):
        lab.client(lab.server(script), retries=0).tags()


def test_headers_that_cannot_be_sent(lab: Any) -> None:
    with pytest.raises(InvalidServerError, match="cannot be sent"):
        lab.client("127.0.0.1:1", headers={"X-A": "a\r\nX-B: b"}).tags()


def test_client_on_a_bare_python_names_the_missing_package() -> None:
    code = (
        "import sys\n"
        "sys.modules.update({'requests': None, 'urllib3': None})\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient\n"
        "from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import MissingDependencyError\n"
        "try:\n    OllamaClient('127.0.0.1')\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    printed = subprocess.run([sys.executable, "-I", "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "requests is not installed" in printed


# Encryption.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    client = authority.issue_cert("worker@example.com")
    paths = {name: str(folder / f"{name}.pem") for name in ("ca", "cert", "key", "both", "other_key", "empty")}
    authority.cert_pem.write_to_path(paths["ca"])
    client.cert_chain_pems[0].write_to_path(paths["cert"])
    client.private_key_pem.write_to_path(paths["key"])
    client.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    authority.issue_cert("x@example.com").private_key_pem.write_to_path(paths["other_key"])
    pathlib.Path(paths["empty"]).write_text("")
    return paths


def server_context(authority: trustme.CA, name: str = "127.0.0.1", wants_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if wants_client:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_private_authority(lab: Any, authority: trustme.CA, files: dict[str, str]) -> None:
    server = lab.server(always({"models": []}), server_context(authority))
    assert lab.client(server, tls=TlsSettings(ca_path=files["ca"])).tags() == {"models": []}


def test_a_directory_of_authorities(lab: Any, authority: trustme.CA, files: dict[str, str], tmp_path: Any) -> None:
    (tmp_path / "private.pem").write_text(pathlib.Path(files["ca"]).read_text())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    server = lab.server(always({"models": []}), server_context(authority))
    assert lab.client(server, tls=TlsSettings(ca_path=str(tmp_path))).tags() == {"models": []}


def test_an_authority_from_the_environment(
    lab: Any, authority: trustme.CA, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["ca"])
    server = lab.server(always({"models": []}), server_context(authority))
    assert lab.client(server).tags() == {"models": []}


def test_an_unknown_authority(lab: Any, authority: trustme.CA) -> None:
    server = lab.server(always({"models": []}), server_context(authority))
    with pytest.raises(TlsError, match=r"certificate of https://.* is not accepted: .*ca_path") as caught:
        lab.client(server).tags()
    assert caught.value.code == "tls_error"
    assert server.connections == 1, "a certificate does not get better by trying again"


def test_a_certificate_for_another_host(lab: Any, authority: trustme.CA, files: dict[str, str]) -> None:
    server = lab.server(always({"models": []}), server_context(authority, "other.example"))
    with pytest.raises(TlsError, match="is not accepted"):
        lab.client(server, tls=TlsSettings(ca_path=files["ca"])).tags()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_verification_when_asked_for(lab: Any, authority: trustme.CA) -> None:
    server = lab.server(always({"models": []}), server_context(authority, "other.example"))
    assert lab.client(server, tls=TlsSettings(validate_certs=False)).tags() == {"models": []}


@pytest.mark.parametrize("shown", [("both", None), ("cert", "key")])
def test_a_client_certificate(lab: Any, authority: trustme.CA, files: dict[str, str], shown: Any) -> None:
    server = lab.server(always({"models": []}), server_context(authority, wants_client=True))
    cert, key = shown
    tls = TlsSettings(ca_path=files["ca"], client_cert=files[cert], client_key=files[key] if key else None)
    assert lab.client(server, tls=tls).tags() == {"models": []}


def test_a_client_certificate_that_is_not_shown(lab: Any, authority: trustme.CA, files: dict[str, str]) -> None:
    server = lab.server(always({"models": []}), server_context(authority, wants_client=True))
    with pytest.raises(TlsError, match="wants a client certificate"):
        lab.client(server, tls=TlsSettings(ca_path=files["ca"])).tags()


def test_https_to_a_plain_server(lab: Any) -> None:
    server = lab.server(lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(TlsError, match=r"does not speak TLS\. Write http://"):
        lab.client(f"https://127.0.0.1:{server.port}").tags()


def test_http_to_an_encrypted_server(lab: Any, authority: trustme.CA) -> None:
    # What Go's server, and so Ollama behind its own TLS proxy, says to that.
    def script(connection: Any) -> None:
        connection.request()
        connection.answer(b"Client sent an HTTP request to an HTTPS server.\n", status="400 Bad Request")

    with pytest.raises(UnexpectedAnswerError, match=r"speaks TLS\. Write https://"):
        lab.client(lab.server(script)).tags()


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"ca_path": "gone"}, "CA certificates in gone cannot be used: No such file"),
        ({"ca_path": "{empty}"}, "CA certificates in .*empty.pem cannot be used"),
        ({"client_cert": "gone"}, "client certificate in gone cannot be used: No such file"),
        ({"client_cert": "{cert}"}, "client certificate in .*cert.pem cannot be used"),
        ({"client_cert": "{cert}", "client_key": "{other_key}"}, "cannot be used: .*key values mismatch"),
        ({"client_key": "{key}"}, "client_key is set without client_cert"),
    ],
)
def test_tls_files_that_cannot_be_used(settings: dict[str, str], complaint: str, files: dict[str, str]) -> None:
    settings = {name: value.format(**files) for name, value in settings.items()}
    with pytest.raises(InvalidServerError, match="(?i)" + complaint):
        OllamaClient("https://127.0.0.1", tls=TlsSettings(**settings))


def test_tls_files_do_not_matter_without_tls() -> None:
    OllamaClient("http://127.0.0.1", tls=TlsSettings(ca_path="gone"))


# Proxies.


@pytest.fixture
def not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the servers of a test count as elsewhere, since no proxy is asked for this machine."""
    monkeypatch.setattr(transport.ServerAddress, "is_loopback", property(lambda self: False))


@pytest.mark.usefixtures("not_loopback")
def test_a_proxy_of_the_environment(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def script(connection: Any) -> None:
        method, path, headers, _body = connection.request()
        seen.append((method, path, headers.get("proxy-authorization")))
        connection.answer({"models": []})

    proxy = lab.server(script)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
    assert lab.client("http://gpu.example:11434").tags() == {"models": []}
    assert seen == [("GET", "http://gpu.example:11434/api/tags", "Basic bWU6c2VjcmV0")]


@pytest.mark.usefixtures("not_loopback")
@pytest.mark.parametrize("broken, complaint", [("refuses", "407"), ("gone", "refused")])
def test_a_proxy_that_does_not_work(lab: Any, monkeypatch: pytest.MonkeyPatch, broken: str, complaint: str) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.answer(b"", status="407 Proxy Authentication Required")

    port = lab.server(script).port if broken == "refuses" else 1
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
    with pytest.raises(ServerUnreachableError, match=complaint) as caught:
        lab.client("https://gpu.example").tags()
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("not_loopback")
def test_a_tunnel_through_a_proxy(
    lab: Any, authority: trustme.CA, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = lab.server(always({"models": []}), server_context(authority))

    def script(connection: Any) -> None:
        method, path, _headers, _body = connection.request()
        assert (method, path) == ("CONNECT", f"127.0.0.1:{server.port}")
        upstream = socket.create_connection(("127.0.0.1", server.port))
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def pump(source: Any, target: Any) -> None:
            while data := source.recv(65536):
                target.sendall(data)

        back = threading.Thread(target=pump, args=(upstream, connection.sock), daemon=True)
        back.start()
        pump(connection.sock, upstream)

    proxy = lab.server(script)
    monkeypatch.setenv("https_proxy", proxy.address)
    assert lab.client(server, tls=TlsSettings(ca_path=files["ca"])).tags() == {"models": []}


@pytest.mark.usefixtures("not_loopback")
def test_exceptions_from_the_proxy(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert lab.client(lab.server(always({"models": []}))).tags() == {"models": []}


def test_this_machine_is_never_asked_through_a_proxy(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert lab.client(lab.server(always({"models": []}))).tags() == {"models": []}


def test_a_kind_of_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:secret@127.0.0.1:1080")
    with pytest.raises(InvalidServerError, match=r"socks5://127\.0\.0\.1:1080, which is neither") as caught:
        OllamaClient("http://gpu.example")
    assert "secret" not in str(caught.value)
