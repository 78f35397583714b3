# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads of answers: what they say of the body, and what a strict reader refuses."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._http.errors import HttpError
from ansible_collections.legionio.ollama.plugins.module_utils._http.response_head import (
    MAX_INTERIM,
    Fields,
    HeadParser,
    HttpHead,
)

OK = b"HTTP/1.1 200 OK"


def test_fields_of_one_name_are_joined_and_found_in_any_spelling():
    fields = Fields(b"\r\nVia: a\r\nX-Empty:\r\nvia:\t b \r\nX: a:b")
    assert dict(fields) == {"via": "a, b", "x-empty": "", "x": "a:b"}
    assert (fields["VIA"], fields.get("Nothing"), "X" in fields, len(fields)) == ("a, b", None, True, 3)


@pytest.mark.parametrize(
    "lines, status, bodiless, length, body_length, chunked, keeps_open",
    [
        (b"\r\nContent-Length: 5", b"200", False, 5, 5, False, True),
        (b"\r\nContent-Length: 5", b"200", True, 5, 0, False, True),
        (b"\r\nContent-Length: 5", b"304", False, 5, 0, False, True),
        (b"\r\nContent-Length: 5\r\nConnection: keep-alive, CLOSE", b"200", False, 5, 5, False, False),
        (b"\r\nTransfer-Encoding: CHUNKED", b"200", False, None, None, True, True),
        (b"\r\nTransfer-Encoding: chunked", b"200", True, None, 0, False, True),
        (b"", b"204", False, None, 0, False, True),
        (b"\r\nContent-Length: 0", b"204", False, 0, 0, False, True),
        (b"", b"200", False, None, None, False, False),
    ],
)
def test_head_says_where_the_body_ends(lines, status, bodiless, length, body_length, chunked, keeps_open):
    head = HttpHead(b"HTTP/1.1 " + status + lines, bodiless=bodiless)
    found = (head.length, head.body_length, head.chunked, head.keeps_open)
    assert found == (length, body_length, chunked, keeps_open)


def test_head_of_http_1_0_does_not_keep_the_connection():
    head = HttpHead(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5")
    assert (head.body_length, head.keeps_open) == (5, False)


def test_head_without_a_reason_has_the_usual_one():
    assert [HttpHead(b"HTTP/1.1 " + text).reason for text in (b"404", b"404 ", b"404 Gone fishing", b"599")] == [
        "Not Found",
        "Not Found",
        "Gone fishing",
        "",
    ]


@pytest.mark.parametrize(
    "lines, message",
    [
        (b"\r\nContent-Length: 1\r\nContent-Length: 1", "content-length more than once"),
        (b"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", "transfer-encoding beside a content-length"),
        (b"\r\nTransfer-Encoding: chunked, chunked", "transfer encoding is"),
        (b"\r\nTransfer-Encoding: xchunked", "transfer encoding is"),
        (b"\r\nTransfer-Encoding : chunked", "not a header"),
        (b"\r\nContent-Length: +1", "length is"),
        (b"\r\nContent-Length:", "length is"),
        (b"\r\nContent-Length: 0x1", "length is"),
        (b"\r\nContent-Length: 1 1", "length is"),
        (b"\r\nContent-Range: bytes 0-1/2\r\ncontent-range: bytes 1-1/2", "content-range more than once"),
        (b"\r\nX: a\r b", "not a header"),
        (b"\r\nX: a\n b", "not a header"),
        (b"\r\nX: a\0", "not a header"),
        (b"\r\n: a", "not a header"),
        (b"\r\n\tX: a", "not a header"),
    ],
)
def test_head_that_two_readers_could_read_differently_is_refused(lines, message):
    with pytest.raises(HttpError, match=message):
        HttpHead(OK + lines)


def test_head_parser_skips_some_interim_answers_and_no_more():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    head = HeadParser().feed(interim * MAX_INTERIM + OK + b"\r\n\r\nrest")
    assert head is not None and head.status == 200
    with pytest.raises(HttpError, match="interim"):
        HeadParser().feed(interim * (MAX_INTERIM + 1))


def test_head_parser_keeps_what_comes_behind_the_head():
    parser = HeadParser()
    assert parser.feed(OK + b"\r\n\r") is None
    assert parser.feed(b"\nrest") is not None
    assert parser.rest == b"rest"
