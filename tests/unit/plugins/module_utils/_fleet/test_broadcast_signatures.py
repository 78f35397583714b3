# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of broadcasts: what one shows, and every way in which one shows nothing."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcast_signatures import (
    HEADER,
    LIFETIME,
    PAYLOAD_TYPE,
    SKEW,
    BroadcastExpiredError,
    BroadcastSignatureError,
    BroadcastUnsignedError,
    SignedBroadcast,
    signature_header,
    verified,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import (
    IMPORT,
    PLAN,
    Order,
    order_message,
    read_order,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Properties
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import KeyRing, PrivateKey
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from .._mirror.signing.signed_models import KEY, OTHER, RING, SIGNER, new_key, pem_of

ORDER = Order(IMPORT, "llama3:8b", ("gpu-01", "gpu-02"))
GOOD = order_message(ORDER, "c-1", "llm.fleet.reply.x", 600, SIGNER)
DOCUMENT = json.loads(GOOD.body)


def refusal(message: Message, keys: KeyRing = RING) -> str:
    with pytest.raises((BroadcastUnsignedError, BroadcastSignatureError)) as caught:
        verified(message, keys)
    return str(caught.value)


def signed(body: Any, key: PrivateKey = SIGNER) -> Message:
    """A message with any body that somebody with the key has signed."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(Properties(), signature_header(content, key), content)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_verified_of_a_known_key_shows_time_and_validity(curve: Any) -> None:
    key = new_key(curve)
    message = order_message(ORDER, "c-1", "r", 600, PrivateKey(key))
    shown = verified(message, KeyRing([pem_of(OTHER), pem_of(key)]))
    assert shown.expires_at - shown.signed_at == 600 and abs(shown.signed_at - time.time()) < 5
    shown.require_current(time.time())


def test_order_with_a_signature_is_read_as_one_without() -> None:
    read = read_order(GOOD)
    assert (read.function, read.model, read.nodes) == (ORDER.function, ORDER.model, ORDER.nodes)


def test_two_equal_orders_are_two_broadcasts() -> None:
    again = order_message(ORDER, "c-1", "llm.fleet.reply.x", 600, SIGNER)
    assert verified(GOOD, RING).digest != verified(again, RING).digest


def test_order_of_days_is_valid_for_one() -> None:
    shown = verified(order_message(ORDER, "c-1", "r", 7 * 86400, SIGNER), RING)
    assert shown.expires_at - shown.signed_at == LIFETIME


def test_order_of_less_than_a_second_is_valid_for_one() -> None:
    shown = verified(order_message(ORDER, "c-1", "r", 0.2, SIGNER), RING)
    assert shown.expires_at - shown.signed_at == 1


def test_unsigned_broadcast_is_refused_with_the_known_keys() -> None:
    with pytest.raises(BroadcastUnsignedError, match=SIGNER.key_id[:16]):
        verified(order_message(ORDER, "c-1", "r", 600), RING)


def test_signature_of_another_key_is_refused_with_both_keys() -> None:
    text = refusal(signed(DOCUMENT, PrivateKey(OTHER)))
    assert PrivateKey(OTHER).key_id[:16] in text and SIGNER.key_id[:16] in text


def test_signature_of_another_key_with_the_name_of_a_known_one_is_refused() -> None:
    value = signed(DOCUMENT, PrivateKey(OTHER)).headers[HEADER].replace(PrivateKey(OTHER).key_id, SIGNER.key_id)
    assert "somebody has changed the broadcast" in refusal(replace(GOOD, headers={HEADER: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"function": PLAN},
        {"model": "llama3:70b"},
        {"nodes": ["gpu-03"]},
        {"bucket": "another"},
        {"signed_at": DOCUMENT["signed_at"] + 1},
        {"expires_at": DOCUMENT["expires_at"] + 1},
        {"nonce": "0" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_altered_field_is_refused(change: dict[str, Any]) -> None:
    body = json.dumps({**DOCUMENT, **change}, separators=(",", ":")).encode()
    assert "somebody has changed the broadcast" in refusal(replace(GOOD, body=body))


def test_removed_field_is_refused() -> None:
    body = json.dumps({name: value for name, value in DOCUMENT.items() if name != "nodes"}).encode()
    assert "somebody has changed the broadcast" in refusal(replace(GOOD, body=body))


def test_signature_of_a_model_is_none_of_a_broadcast() -> None:
    """DSSE signs the type with the bytes, so that what was signed as one thing is never taken for another."""
    kind = b"application/vnd.in-toto+json"
    content = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(GOOD.body), GOOD.body)
    value = f"v1 {SIGNER.key_id} {base64.b64encode(SIGNER.sign(content)).decode()}"
    assert "somebody has changed the broadcast" in refusal(replace(GOOD, headers={HEADER: value}))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "v1",
        b"\xff",
        7,
        True,
        ["v1"],
        {"v1": GOOD.headers[HEADER]},
        GOOD.headers[HEADER].replace("v1", "v2"),
        GOOD.headers[HEADER] + "\n",
        GOOD.headers[HEADER].replace(" ", "\u00a0"),
        GOOD.headers[HEADER][:-4] + "====",
        f"v1 {SIGNER.key_id} {'A' * 100_000}",
        f"v1 {SIGNER.key_id.upper()} {'A' * 64}",
        "v1 " + "\u0661" * 64 + " " + "A" * 64,
    ],
    ids=lambda value: type(value).__name__,
)
def test_malformed_header_is_refused_in_few_words(value: Any) -> None:
    assert len(refusal(replace(GOOD, headers={HEADER: value}))) < 300


@pytest.mark.parametrize(
    "body, text",
    [
        (b"", "not a JSON object"),
        (b"\xff\xfe", "not a JSON object"),
        (json.dumps(DOCUMENT).encode("utf-16"), "not a JSON object"),
        ([], "not a JSON object"),
        (b"[" * 60_000, "not a JSON object"),
        (b'{"a":' * 30_000, "not a JSON object"),
        (GOOD.body[:-1] + b',"model":"other:1"}', "a name twice"),
        (GOOD.body[:-1] + b',"x":{"y":1,"y":2}}', "a name twice"),
        (GOOD.body[:-1] + b',"mod\\u0065l":"other:1"}', "a name twice"),
        ({name: value for name, value in DOCUMENT.items() if name != "function"}, "no function"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_signed_body_that_readers_would_disagree_on_is_refused(body: Any, text: str) -> None:
    assert text in refusal(signed(body))


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": None},
        {"nonce": 1},
        {"nonce": ""},
        {"nonce": "short"},
        {"nonce": "x" * 65},
        {"nonce": "\u0661" * 32},
        {"nonce": ["x" * 32]},
        {"signed_at": None},
        {"signed_at": True},
        {"signed_at": -1},
        {"signed_at": float(DOCUMENT["signed_at"])},
        {"signed_at": str(DOCUMENT["signed_at"])},
        {"signed_at": 10**400},
        {"expires_at": "never"},
        {"expires_at": DOCUMENT["signed_at"]},
        {"expires_at": DOCUMENT["signed_at"] - 1},
        {"expires_at": DOCUMENT["signed_at"] + LIFETIME + 1},
    ],
    ids="-".join,
)
def test_signed_body_that_could_be_repeated_is_refused(change: dict[str, Any]) -> None:
    assert len(refusal(signed({**DOCUMENT, **change}))) < 300


@pytest.mark.parametrize("name", ["nonce", "signed_at", "expires_at"])
def test_signed_body_without_a_proof_is_refused(name: str) -> None:
    assert "could be repeated" in refusal(signed({key: value for key, value in DOCUMENT.items() if key != name}))


@pytest.mark.parametrize(
    "now, current",
    [(1000 - SKEW, True), (1000 - SKEW - 1, False), (1600 + SKEW, True), (1600 + SKEW + 1, False), (0, False)],
)
def test_broadcast_is_current_within_the_skew_of_clocks(now: float, current: bool) -> None:
    broadcast = SignedBroadcast("d", 1000, 1600)
    if current:
        broadcast.require_current(now)
    else:
        with pytest.raises(BroadcastExpiredError, match="clock"):
            broadcast.require_current(now)


@given(st.binary(max_size=200), st.text(max_size=300))
def test_verified_of_anything_raises_nothing_else(body: bytes, value: str) -> None:
    refusal(Message(Properties(), {HEADER: value}, body))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists))
def test_verified_of_any_signed_value_raises_nothing_else(value: Any) -> None:
    refusal(signed({**DOCUMENT, "signed_at": value}))


def test_signature_is_what_openssl_checks(tmp_path: Path) -> None:
    """As docs/wire-protocol.md describes the signed bytes, for senders that are not of this collection."""
    raw = base64.b64decode(GOOD.headers[HEADER].split(" ")[2])
    (tmp_path / "public").write_text(pem_of(KEY))
    (tmp_path / "signature").write_bytes(raw)
    (tmp_path / "signed").write_bytes(b"DSSEv1 39 " + PAYLOAD_TYPE.encode() + b" %d " % len(GOOD.body) + GOOD.body)
    command = ["openssl", "dgst", "-sha256", "-verify", "public", "-signature", "signature", "signed"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "Verified OK", done
