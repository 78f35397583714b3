# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted bodies: the vector of LegionIO's own cipher, and whatever else begins like one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.encrypted_bodies import (
    BodyCipher,
    EncryptedBodyError,
    encrypted_size,
    is_encrypted,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Properties
from hypothesis import given
from hypothesis import strategies as st

SECRET = "ab" * 32
CIPHER = BodyCipher(SECRET)
CLEAR = b'{"protocol_version":2}'

#: What legion-crypt makes of it, read in LegionIO's sources and checked there.
IV = "AAAAAAAAAAAAAAAA"
SEALED = b"gcm:OffKfUWCJIYtNYfEzODKVIHj6oP8Lg==:5YtdawmMSY1UUE8+9Bv4VQ=="


def sealed(body: bytes = SEALED, iv: Any = IV, encoding: str = "identity") -> Message:
    return Message(Properties(content_encoding=encoding), {"iv": iv, "a": 1}, body)


def test_the_vector_is_what_legionio_makes() -> None:
    assert CIPHER.sealed(base64.b64decode(IV), CLEAR) == SEALED


@pytest.mark.parametrize("encoding", ["identity", "encrypted/cs", "anything"])
def test_decrypted_returns_the_vector_in_clear_whatever_its_encoding_says(encoding: str) -> None:
    message = CIPHER.decrypted(sealed(encoding=encoding))
    assert (message.body, message.properties.content_encoding, message.headers) == (CLEAR, "identity", {"a": 1})


def test_encrypted_can_be_decrypted_and_is_never_twice_the_same() -> None:
    clear = Message(Properties(content_encoding="identity"), {"a": 1}, CLEAR)
    one, other = CIPHER.encrypted(clear), CIPHER.encrypted(clear)
    assert is_encrypted(one) and one.body != other.body and one.headers["iv"] != other.headers["iv"]
    assert CIPHER.decrypted(one) == clear == CIPHER.decrypted(other)


def test_decrypted_with_another_secret_fails() -> None:
    with pytest.raises(EncryptedBodyError, match="another secret"):
        BodyCipher("cd" * 32).decrypted(sealed())


@pytest.mark.parametrize(
    "body, iv, text",
    [
        (SEALED, None, "header iv"),
        (SEALED, 7, "header iv"),
        (SEALED, "AAAA", "header iv"),
        (SEALED, "not base64", "header iv"),
        (SEALED, "\ud800", "header iv"),
        (b"gcm:", IV, "form"),
        (b"gcm:AAAA", IV, "form"),
        (b"gcm:AAAA:AAAA", IV, "base64"),
        (b"gcm:!:5YtdawmMSY1UUE8+9Bv4VQ==", IV, "base64"),
        (b"gcm::5YtdawmMSY1UUE8+9Bv4VQ==", IV, "changed"),
        (SEALED.replace(b"Off", b"Ofg"), IV, "changed"),
        (SEALED.replace(b"5Yt", b"5Yu"), IV, "changed"),
        (SEALED + b":AAAA", IV, "form"),
        (b"gcm:" + b":" * 1_000_000, IV, "form"),
        (SEALED.replace(b"gcm", b"cbc"), IV, "form"),
    ],
)
def test_decrypted_of_what_cannot_be_decrypted_says_why(body: bytes, iv: Any, text: str) -> None:
    with pytest.raises(EncryptedBodyError, match=text):
        CIPHER.decrypted(sealed(body, iv))


@pytest.mark.parametrize("body", [b"", b"{}", b"gc", b" gcm:", b'"gcm:"'])
def test_a_body_that_does_not_begin_like_one_is_not_encrypted(body: bytes) -> None:
    assert not is_encrypted(Message(Properties(), {}, body))


@pytest.mark.parametrize("body, encrypted", [(SEALED, True), (b"Y2JjCg==", True), (b"", True), (b" \r\n{}", False)])
def test_a_body_with_the_header_is_encrypted_unless_it_is_json(body: bytes, encrypted: bool) -> None:
    assert is_encrypted(sealed(body)) is encrypted


@given(st.binary(max_size=200))
def test_encrypted_size_is_that_of_what_is_made(body: bytes) -> None:
    assert encrypted_size(len(body)) == len(CIPHER.sealed(b"x" * 12, body))


@given(st.binary(max_size=60).map(lambda data: b"gcm:" + data), st.none() | st.text() | st.integers() | st.binary())
def test_decrypted_of_any_bytes_raises_nothing_else(body: bytes, iv: Any) -> None:
    with pytest.raises(EncryptedBodyError):
        CIPHER.decrypted(sealed(body, iv))


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(CIPHER)
