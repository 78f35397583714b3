# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which broadcasts a node carries out, and which are repetitions: over restarts, jumps of the clock and lost files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fleet_worker._fleet.broadcast_signatures import (
    LIFETIME,
    SKEW,
    BroadcastExpiredError,
    BroadcastSignatureError,
    BroadcastUnsignedError,
    signature_header,
)
from fleet_worker._fleet.broadcasts import IMPORT, BroadcastRepeatedError, Order, order_message, read_order
from fleet_worker._fleet.errors import FleetError
from fleet_worker._fleet.messages import Message
from fleet_worker._mirror.signing.keys import PrivateKey
from fleet_worker.updates import broadcast_record
from fleet_worker.updates.admission import AdmittedBroadcast, BroadcastAdmission
from fleet_worker.updates.broadcast_record import BroadcastRecord, BroadcastRecordError

SIGNER = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
NOW = 1_800_000_000


class Node:
    """A node over the life of several processes, with a clock that a test sets."""

    def __init__(self, path: Path, mode: str = "enforce") -> None:
        self.path = path / "broadcasts.json"
        self.now = float(NOW)
        self.mode = mode
        self.start()

    def start(self) -> None:
        record = BroadcastRecord(str(self.path), lambda: self.now)
        self.admission = BroadcastAdmission("gpu-01", self.mode, SIGNER.ring, record, lambda: self.now)

    def admit(self, message: Message, redelivered: bool = False) -> AdmittedBroadcast:
        return self.admission.admit(message, read_order(message), redelivered)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def broadcast(signed_at: int = NOW, seconds: int = 600, key: Optional[PrivateKey] = SIGNER, nonce: str = "") -> Message:
    message = order_message(Order(IMPORT, "llama3:8b"), "c-1", "r", seconds, key)
    if key is None:
        return message
    document = {**json.loads(message.body), "signed_at": signed_at, "expires_at": signed_at + seconds}
    body = json.dumps({**document, **({"nonce": nonce} if nonce else {})}).encode()
    return replace(message, headers=signature_header(body, key), body=body)


def test_signed_broadcast_is_admitted_once(node: Node) -> None:
    message = broadcast()
    assert not node.admit(message).is_done
    with pytest.raises(BroadcastRepeatedError):
        node.admit(message)
    node.admit(broadcast())


def test_copy_with_other_properties_is_a_repetition(node: Node) -> None:
    message = broadcast()
    node.admit(message)
    other = replace(message.properties, message_id="other", correlation_id="other", reply_to="llm.fleet.reply.other")
    with pytest.raises(BroadcastRepeatedError):
        node.admit(replace(message, properties=other))


@pytest.mark.parametrize("restarted", [False, True])
def test_redelivery_before_the_end_is_the_same_broadcast(node: Node, restarted: bool) -> None:
    message = broadcast()
    first = node.admit(message)
    if restarted:
        node.start()
    assert node.admit(message, redelivered=True) == first
    with pytest.raises(BroadcastRepeatedError):
        node.admit(message)


@pytest.mark.parametrize("restarted", [False, True])
def test_redelivery_after_the_end_has_nothing_left_to_do(node: Node, restarted: bool) -> None:
    message = broadcast()
    node.admission.finish(node.admit(message).identity)
    if restarted:
        node.start()
    assert node.admit(message, redelivered=True).is_done
    with pytest.raises(BroadcastRepeatedError):
        node.admit(message)


def test_redelivery_of_what_no_process_has_recorded_is_new(node: Node) -> None:
    assert not node.admit(broadcast(), redelivered=True).is_done


def test_redelivery_after_hours_is_the_same_broadcast(node: Node) -> None:
    message = broadcast(seconds=60)
    node.admit(message)
    node.now += 5 * 3600
    node.start()
    assert not node.admit(message, redelivered=True).is_done


@pytest.mark.parametrize("redelivered", [False, True])
def test_old_broadcast_is_refused(node: Node, redelivered: bool) -> None:
    node.now += 600 + SKEW + 1
    with pytest.raises(BroadcastExpiredError, match="invalid for"):
        node.admit(broadcast(), redelivered)


def test_broadcast_from_the_future_is_refused(node: Node) -> None:
    with pytest.raises(BroadcastExpiredError, match="seconds from now"):
        node.admit(broadcast(NOW + SKEW + 1))


def test_refused_broadcast_is_not_recorded(node: Node) -> None:
    message = broadcast(NOW + SKEW + 60)
    with pytest.raises(BroadcastExpiredError):
        node.admit(message)
    node.now += 120
    assert node.admit(message)


@pytest.mark.parametrize("jump", [-3600, -LIFETIME, -(10**9), 3600, LIFETIME, 10**9])
def test_jump_of_the_clock_lets_nothing_come_back(node: Node, jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast_record, "KEPT", 3)
    messages = [broadcast(NOW + number) for number in range(6)]
    for message in messages:
        node.admission.finish(node.admit(message).identity)
    for now in (NOW + jump, NOW):
        node.now = now
        node.start()
        for message in messages:
            with pytest.raises((BroadcastExpiredError, BroadcastRepeatedError)):
                node.admit(message)


def test_record_has_an_end_and_what_it_forgets_does_not_come_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast_record, "KEPT", 10)
    messages = [broadcast(NOW + number, LIFETIME) for number in range(30)]
    for message in messages:
        node.admission.finish(node.admit(message).identity)
    assert len(json.loads(node.path.read_text())["broadcasts"]) == 10
    node.start()
    with pytest.raises(BroadcastExpiredError, match="before anything that this node remembers"):
        node.admit(messages[0])
    with pytest.raises(BroadcastRepeatedError):
        node.admit(messages[-1])


def test_record_forgets_what_is_done_before_what_is_under_way(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast_record, "KEPT", 10)
    long_import = broadcast(NOW)
    node.admit(long_import)
    for number in range(1, 30):
        node.admission.finish(node.admit(broadcast(NOW + number)).identity)
    node.start()
    assert not node.admit(long_import, redelivered=True).is_done


def test_full_record_is_smaller_than_what_is_read(node: Node) -> None:
    for number in range(broadcast_record.KEPT):
        node.admission._record._known[f"{number:064d}"] = (1 << 40, "taken")  # type: ignore[union-attr]
    node.admit(broadcast())
    assert node.path.stat().st_size < broadcast_record.MAX_SIZE / 2


def test_first_record_takes_what_was_sent_while_clocks_differ(node: Node) -> None:
    assert node.admit(broadcast(NOW - SKEW + 1, 3600))


def test_broadcast_that_waited_for_a_node_that_was_off_is_admitted(node: Node) -> None:
    node.now += 3600
    node.start()
    assert node.admit(broadcast(NOW + 60, 7200))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"format":2}', b"[" * 5000, None], ids=repr)
def test_lost_record_lets_nothing_of_before_come_back(node: Node, content: Optional[bytes]) -> None:
    message = broadcast(NOW, LIFETIME)
    node.admit(message)
    node.now += 2 * SKEW
    if content is None:
        node.path.unlink()
    else:
        node.path.write_bytes(content)
    node.start()
    with pytest.raises(BroadcastExpiredError, match="before anything that this node remembers"):
        node.admit(message)
    assert node.admit(broadcast(NOW + 2 * SKEW + 1))


@pytest.mark.parametrize(
    "broadcasts", [[], {"d": 1}, {"d": []}, {"d": [1, "new"]}, {"d": ["x", "done"]}, {"d": [1, ["done"]]}], ids=repr
)
def test_record_with_odd_entries_counts_as_lost(node: Node, broadcasts: Any) -> None:
    content = {"format": 1, "begun": 0, "forgotten": 0, "broadcasts": broadcasts}
    node.path.write_text(json.dumps(content))
    node.start()
    with pytest.raises(BroadcastExpiredError):
        node.admit(broadcast(NOW - 1))


def test_record_that_was_begun_under_a_wrong_clock_does_not_keep_broadcasts_out_for_ever(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.path.unlink()
    node.now = NOW + 10**9
    node.start()
    node.now = NOW
    assert node.admit(broadcast())


def test_record_that_cannot_be_written_refuses_the_broadcast(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_names: Any, **_directories: Any) -> None:
        raise OSError(28, "No space left on device")

    message = broadcast()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BroadcastRecordError, match="file system is full"):
            node.admit(message)
    assert node.admit(message)


def test_record_without_its_directory_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(BroadcastRecordError, match="does not exist"):
        Node(tmp_path / "gone")


def test_end_that_cannot_be_recorded_costs_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_names: Any, **_directories: Any) -> None:
        raise OSError(28, "No space left on device")

    identity = node.admit(broadcast()).identity
    monkeypatch.setattr(os, "replace", full)
    node.admission.finish(identity)


@pytest.mark.parametrize(
    "message, error",
    [
        (broadcast(key=None), BroadcastUnsignedError),
        (broadcast(key=PrivateKey(ec.generate_private_key(ec.SECP256R1()))), BroadcastSignatureError),
        (replace(broadcast(), body=broadcast().body), BroadcastSignatureError),
        (broadcast(NOW - 10_000), BroadcastExpiredError),
    ],
)
def test_refusal_names_broadcast_key_and_policy(node: Node, message: Message, error: type[FleetError]) -> None:
    with pytest.raises(error) as caught:
        node.admit(message)
    text = str(caught.value)
    assert "The policy enforce of gpu-01 does not let import_from_s3 of llama3:8b pass" in text
    if error in (BroadcastUnsignedError, BroadcastSignatureError):
        assert SIGNER.key_id[:16] in text


def test_policy_to_warn_carries_out_what_it_would_refuse(tmp_path: Path) -> None:
    node = Node(tmp_path, "warn")
    message = broadcast()
    assert node.admit(message).identity != node.admit(message).identity  # the second as one without a signature
    assert node.admit(broadcast(key=None)).identity


def test_policy_off_looks_at_nothing(tmp_path: Path) -> None:
    off = BroadcastAdmission("gpu-01", "off", SIGNER.ring, None)
    message = broadcast(key=None)
    assert off.admit(message, read_order(message), False) == off.admit(message, read_order(message), False)
    off.finish("anything")
