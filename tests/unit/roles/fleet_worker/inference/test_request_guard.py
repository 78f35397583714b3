# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that state a version of the protocol, as the worker reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Optional

import pytest
from fleet_worker._fleet.dialects import served
from fleet_worker._fleet.encrypted_bodies import BodyCipher
from fleet_worker._fleet.messages import Message, Properties
from fleet_worker._fleet.tokens import TokenSettings, sign
from fleet_worker.domain.protocol_settings import ProtocolSettings
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference.request_reader import RequestReader
from fleet_worker.inference.task import ParsedRequest

from ..deliveries import delivery, lane_settings
from ..protocol_requests import version2

LANE = lane_settings("chat", "qwen3.5:27b", style="shared")


def task(settings: Optional[ProtocolSettings] = None, **changes: Any) -> ParsedRequest:
    protocol = settings or ProtocolSettings(instances=("default", "gpu-*"))
    reader = RequestReader(("llm.fleet.reply.*",), 100_000, runner_options=False, protocol=protocol)
    document = version2(**changes)
    found = reader.read(
        delivery(document, lane=LANE, reply_to=document["reply_to"], correlation_id=document["correlation_id"])
    )
    assert isinstance(found, ParsedRequest)
    return found


@pytest.mark.parametrize("instance", ["default", "gpu-01", "gpu-7"])
def test_read_of_a_request_to_this_instance_serves_it(instance: str) -> None:
    found = task(provider_instance=instance)
    assert (found.failure, found.dialect.name, found.verdict) == (None, "version 2", Verdict.ACK)
    assert found.fields["type"] == "chat"


@pytest.mark.parametrize("instance", ["Default", "h200", "\x1b[31m"])
def test_read_of_a_request_to_another_instance_refuses_it(instance: str) -> None:
    failure = task(provider_instance=instance).failure
    assert failure is not None and failure.code == "unknown_instance"
    assert "instances" in failure.message and "\x1b" not in failure.message


def test_read_of_a_request_to_any_instance_serves_it() -> None:
    assert task(ProtocolSettings(instances=("*",)), provider_instance="h200").failure is None


def test_read_of_a_version_that_is_not_served_refuses_it() -> None:
    found = task(ProtocolSettings(dialects=served([])))
    assert found.failure is not None and found.failure.code == "unsupported_type"


def test_read_of_an_incomplete_envelope_asks_the_guard_nothing() -> None:
    failure = task(provider_instance=None).failure
    assert failure is not None and failure.code == "invalid_envelope"


SECRET = "ab" * 32
REQUIRED = ProtocolSettings(tokens=TokenSettings(SECRET), unsigned=False)
OPTIONAL = ProtocolSettings(tokens=TokenSettings(SECRET), unsigned=True)


def signed(secret: str = SECRET, **changes: Any) -> dict[str, Any]:
    document = version2(**changes)
    return {**document, "signed_token": sign(document, TokenSettings(secret))}


@pytest.mark.parametrize(
    "settings, write, code",
    [
        (REQUIRED, signed, None),
        (REQUIRED, version2, "invalid_token"),
        (REQUIRED, lambda: signed("cd" * 32), "invalid_token"),
        (REQUIRED, lambda: {**signed(), "model": "qwen3-5-27b"}, "invalid_token"),
        (OPTIONAL, signed, None),
        (OPTIONAL, version2, None),
        (OPTIONAL, lambda: signed("cd" * 32), "invalid_token"),
        (ProtocolSettings(), lambda: version2(signed_token="anything"), None),
    ],
)
def test_read_of_a_request_with_and_without_a_token(
    settings: ProtocolSettings, write: Callable[[], dict[str, Any]], code: Optional[str]
) -> None:
    # Written here, for a token that is valid for a minute.
    failure = task(settings, **write()).failure
    assert (failure and failure.code) == code


def test_read_of_a_token_that_another_request_has_brought_refuses_it() -> None:
    reader = RequestReader(("llm.fleet.reply.*",), 100_000, runner_options=False, protocol=REQUIRED)
    document = signed()

    def failure(changed: dict[str, Any]) -> Any:
        found = reader.read(delivery(changed, lane=LANE, correlation_id=None, reply_to=None))
        assert isinstance(found, ParsedRequest)
        return found.failure

    assert failure(document) is None
    assert failure(document) is None, "it came again"
    replayed = failure({**document, "ttl": 999})
    assert replayed.code == "invalid_token" and "another request" in replayed.message


def test_read_of_a_token_by_another_worker_serves_it() -> None:
    """Each remembers for itself, so a request that goes to another node after the first has failed is not refused."""
    document = signed()
    assert [task(REQUIRED, **document).failure for _worker in range(2)] == [None, None]


def encrypted_reading(cipher: Optional[BodyCipher], secret: str = SECRET) -> ParsedRequest:
    clear = delivery(version2(), lane=LANE)
    message = replace(clear.message, properties=Properties(type="llm.fleet.request"))
    sealed = replace(clear, message=BodyCipher(secret).encrypted(message))
    protocol = ProtocolSettings(cipher=cipher)
    found = RequestReader(("llm.fleet.reply.*",), 100_000, runner_options=False, protocol=protocol).read(sealed)
    assert isinstance(found, ParsedRequest)
    return found


def test_read_of_an_encrypted_request_reads_what_is_in_it() -> None:
    found = encrypted_reading(BodyCipher(SECRET))
    assert (found.failure, found.dialect.name, found.verdict) == (None, "version 2", Verdict.ACK)


@pytest.mark.parametrize(
    "cipher, secret, text",
    [(None, SECRET, "fleet_worker_decrypt"), (BodyCipher(SECRET), "cd" * 32, "another secret")],
    ids=["no secret", "another secret"],
)
def test_read_of_a_request_that_cannot_be_decrypted_dead_letters_it(
    cipher: Optional[BodyCipher], secret: str, text: str
) -> None:
    found = encrypted_reading(cipher, secret)
    assert found.verdict is Verdict.REJECT
    assert found.failure is not None and found.failure.code == "undecryptable" and text in found.failure.message


@pytest.mark.parametrize("size, fits", [(100_000, True), (100_003, False)])
def test_read_of_an_encrypted_request_that_is_too_large_decrypts_nothing(size: int, fits: bool) -> None:
    made = BodyCipher(SECRET).encrypted(Message(Properties(), {}, b"{" + b" " * (size - 2) + b"}"))
    cipher = Cipher(SECRET)
    protocol = ProtocolSettings(cipher=cipher)
    reader = RequestReader(("llm.fleet.reply.*",), 100_000, runner_options=False, protocol=protocol)
    found = reader.read(replace(delivery({}, lane=LANE), message=made))
    assert isinstance(found, ParsedRequest)
    # Base64 has no more than three bytes of room.
    assert cipher.decryptions == fits
    if not fits:
        assert found.failure is not None and found.failure.code == "payload_too_large"


class Cipher(BodyCipher):
    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        self.decryptions = 0

    def decrypted(self, message: Message) -> Message:
        self.decryptions += 1
        return super().decrypted(message)


def test_identity_of_an_encrypted_request_that_lost_its_properties_is_the_same() -> None:
    sealed = BodyCipher(SECRET).encrypted(delivery(version2(), lane=LANE, message_id="llm_fleet_req_1").message)
    whole = replace(delivery({}, lane=LANE), message=sealed)
    lost = replace(whole, message=replace(sealed, properties=Properties()))
    again = replace(whole, message=BodyCipher(SECRET).encrypted(delivery(version2(), lane=LANE).message))
    without = replace(whole, message=replace(sealed, headers={}))
    assert whole.identity == lost.identity and whole.identity is not None
    assert len({whole.identity, again.identity, without.identity}) == 3


def test_identity_of_a_request_that_lost_its_properties_is_the_same() -> None:
    document = version2()
    whole = delivery(document, lane=LANE, message_id="llm_fleet_req_1", timestamp=1)
    lost = delivery(document, lane=LANE, type=None, reply_to=None, correlation_id=None, headers={"x-retry-count": 1})
    assert whole.identity == lost.identity and whole.identity is not None


@pytest.mark.parametrize("field", ["idempotency_key", "correlation_id", "reply_to", "params"])
def test_identity_of_a_request_with_another_body_differs(field: str) -> None:
    other = version2(**{field: {"messages": []} if field == "params" else "other"})
    assert delivery(version2(), lane=LANE).identity != delivery(other, lane=LANE).identity


def test_identity_of_a_plain_request_that_mentions_a_version_needs_its_properties() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "tracing": {"protocol_version": 2}}
    one, other = (delivery(body, correlation_id=name, message_id=name) for name in ("a", "b"))
    assert one.identity != other.identity


def test_identity_on_another_lane_differs() -> None:
    here = delivery(version2(), lane=LANE)
    assert here.identity != replace(here, lane=lane_settings("chat", "qwen3.5:27b")).identity


def test_identity_of_a_body_that_is_no_json_is_that_of_its_properties() -> None:
    one = delivery(b'{"protocol_version"', correlation_id="a")
    assert one.identity != delivery(b'{"protocol_version"', correlation_id="b").identity


def test_identity_of_a_carried_request_is_never_its_body_alone() -> None:
    one, other = (
        delivery(version2(), lane=LANE, type="legionio.carried.request", message_id=name) for name in ("a", "b")
    )
    assert one.identity != other.identity
