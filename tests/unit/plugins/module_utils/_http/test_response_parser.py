# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of HTTP/1, in whatever pieces they come: read to their end and no further, and nothing taken for one."""

from __future__ import annotations

import gzip
import zlib

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._http.errors import HttpError
from ansible_collections.legionio.ollama.plugins.module_utils._http.response_head import MAX_HEAD
from ansible_collections.legionio.ollama.plugins.module_utils._http.response_parser import ResponseParser
from hypothesis import given
from hypothesis import strategies as st

LENGTH = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"a": "bc"}'
CHUNKS = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    b'4\r\n{"a"\r\n007;name=value\r\n: "bc"}\r\n0\r\nTrailer: x\r\n\r\n'
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH


def read(answer: bytes, *cuts: int) -> ResponseParser:
    """Read an answer that comes in pieces; it must be complete after the last one, and not before."""
    response = ResponseParser()
    edges = [0, *sorted(cuts), len(answer)]
    pieces = [answer[start:end] for start, end in zip(edges, edges[1:]) if start < end]
    complete = [response.feed(piece) for piece in pieces]
    assert complete == [False] * (len(pieces) - 1) + [True]
    return response


@given(st.sampled_from([LENGTH, CHUNKS, INTERIM]), st.lists(st.integers(1, 60), max_size=8))
def test_parser_with_an_answer_in_any_pieces_reads_it(answer: bytes, cuts: list[int]) -> None:
    response = read(answer, *(cut for cut in cuts if cut < len(answer)))
    assert (response.status, response.reason, response.body()) == (200, "OK", b'{"a": "bc"}')
    assert response.reusable


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 100))
def test_parser_with_chunks_of_any_size_joins_them(chunks: list[bytes], size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer += b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert read(answer, *range(size, len(answer), size)).body() == b"".join(chunks)


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\nConnection: x\r\n\r\n"),
        LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0"),
        LENGTH + b"more than it announced",
        CHUNKS + b"more",
    ],
)
def test_parser_of_an_answer_that_ends_the_connection_is_not_reusable(answer: bytes) -> None:
    response = read(answer)
    assert response.body() == b'{"a": "bc"}'
    assert not response.reusable


def test_parser_of_a_body_without_length_is_complete_at_the_end() -> None:
    response = ResponseParser()
    assert not response.feed(b'HTTP/1.0 200 OK\r\n\r\n{"a":')
    assert not response.feed(b" 1}")
    assert response.end()
    assert response.body() == b'{"a": 1}'
    assert not response.reusable


@pytest.mark.parametrize("answer", [LENGTH, CHUNKS, INTERIM])
def test_parser_of_an_answer_that_is_cut_is_not_complete(answer: bytes) -> None:
    for end in range(len(answer)):
        response = ResponseParser()
        assert not response.feed(answer[:end])
        assert not response.end()


@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02F",  # an alert of TLS
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 20,
        b"HTTP/1.1 102 Processing\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: \x0b2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nETag: a\r\nEtag: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_parser_of_bytes_that_are_no_certain_answer_raises(answer: bytes) -> None:
    with pytest.raises(HttpError, match=r"it|chunk|head"):
        ResponseParser().feed(answer)


#: What a hostile, or a broken, server puts together.
PARTS = st.one_of(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n",
            b"HTTP/1.1 304 Not Modified\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: 0\r\n",
            b"content-length:\t7 \r\n",
            b"Content-Length: 3\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Connection: close\r\n",
            b"Content-Encoding: gzip\r\n",
            b"X: y\r\n",
            b" folded\r\n",
            b"X: y\r",
            b"\r\n",
            b"\n",
            b"3\r\nabc\r\n",
            b"3;a=b\r\nabc\r\n",
            b"3;a\nb\r\nabc\r\n",
            b"0\r\n",
            b"0\r\nTrailer: x\r\n\r\n",
            b"abc",
            LENGTH,
            CHUNKS,
        ]
    ),
    st.binary(max_size=20),
)


def outcome(pieces: list[bytes], *, bodiless: bool) -> object:
    """Parse an answer in pieces, after which the connection ends."""
    response = ResponseParser(bodiless=bodiless)
    try:
        complete = False
        for piece in pieces:
            complete = response.feed(piece)
        reusable = response.reusable
        if not complete and not response.end():
            return "incomplete"
        body: object
        try:
            body = response.body()
        except HttpError:
            body = "compressed, and cannot be read"
        return response.status, response.reason, dict(response.headers), body, complete and reusable
    except HttpError:
        return "refused"


@given(st.lists(PARTS, max_size=9), st.lists(st.integers(1, 200), max_size=9), st.booleans())
def test_parser_with_any_bytes_in_any_pieces_comes_to_the_same(
    parts: list[bytes], cuts: list[int], bodiless: bool
) -> None:
    data = b"".join(parts)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in zip(edges, edges[1:])]
    whole = outcome([data], bodiless=bodiless)
    assert outcome(pieces, bodiless=bodiless) == whole
    assert outcome([data[at : at + 1] for at in range(len(data))], bodiless=bodiless) == whole


def test_parser_fed_after_its_end_takes_nothing_and_gives_the_connection_up() -> None:
    response = read(LENGTH)
    assert response.feed(b"") and response.reusable
    assert response.feed(b"HTTP/1.1 200 OK\r\n") and not response.reusable
    assert response.body() == b'{"a": "bc"}'


def test_parser_before_the_head_is_there_has_no_status() -> None:
    response = ResponseParser()
    assert not response.feed(b"HTTP/1.1 200 OK\r\n")
    assert (response.status, response.reason, dict(response.headers)) == (0, "", {})


def test_parser_of_an_answer_to_head_expects_no_body() -> None:
    response = ResponseParser(bodiless=True)
    assert response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    assert (response.body(), response.reusable) == (b"", True)


def test_parser_of_a_body_that_ends_with_the_connection_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ResponseParser.__module__}.MAX_BODY", 10)
    response = ResponseParser()
    assert not response.feed(b"HTTP/1.1 200 OK\r\n\r\n0123456789")
    with pytest.raises(HttpError, match="more than 10 bytes"):
        response.feed(b"x")


def test_parser_of_an_answer_that_is_large_when_decompressed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ResponseParser.__module__}.MAX_BODY", 1000)
    body = gzip.compress(bytes(10_000))
    response = read(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    with pytest.raises(HttpError, match="too large"):
        response.body()


def test_parser_of_an_answer_without_content_has_no_body() -> None:
    response = read(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (response.status, response.body(), response.reusable) == (204, b"", True)


def test_parser_offers_headers_and_reason() -> None:
    response = read(b"HTTP/1.1 302\r\nLOCATION: http://elsewhere\r\nContent-Length: 0\r\n\r\n")
    assert response.headers.get("Location") == "http://elsewhere"
    assert response.reason == "Found"


@pytest.mark.parametrize("coding, compress", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_body_that_is_compressed_is_decompressed(coding: str, compress: object) -> None:
    body = compress(b'{"a": 1}')  # type: ignore[operator]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert read(head.encode() + body).body() == b'{"a": 1}'


@pytest.mark.parametrize(
    "coding, body",
    [("gzip", b"{}"), ("gzip", gzip.compress(b"{}", mtime=0)[:-4]), ("br", b"{}"), ("deflate", b"")],
)
def test_body_that_is_badly_compressed_raises(coding: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    with pytest.raises(HttpError):
        read(head.encode() + body).body()
