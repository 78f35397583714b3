# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of protocol versions 2 and 3 with anything in them, from the delivery to the reply.

Nothing raises, and whatever names a reply queue of a requester is answered so that its requester takes the reply.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fleet_worker._fleet.dialects import served
from fleet_worker._fleet.dialects.base import ReplyIdentity
from fleet_worker._fleet.encrypted_bodies import BodyCipher
from fleet_worker._fleet.messages import Failure, Success
from fleet_worker._fleet.tokens import TokenSettings, encoded, sign
from fleet_worker.domain.protocol_settings import ProtocolSettings
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.replies import Replies
from fleet_worker.inference.request_reader import RequestReader
from hypothesis import given
from hypothesis import strategies as st

from ..deliveries import REPLY_TO, delivery, lane_settings
from ..protocol_requests import version2, version3

SECRET = "ab" * 32
CIPHER = BodyCipher(SECRET)
TOKENS = TokenSettings(SECRET)
LANES = [lane_settings(kind, "qwen3.5:27b", style="shared") for kind in ("chat", "embed")]
READERS = [
    RequestReader(
        ("llm.fleet.reply.*",),
        100_000,
        runner_options=False,
        protocol=ProtocolSettings(served((2, 3)), ("default", "gpu-01"), tokens, unsigned=unsigned, cipher=CIPHER),
    )
    for tokens, unsigned in ((None, True), (TOKENS, True), (TOKENS, False))
]
REPLIES = Replies(ReplyIdentity("gpu-01"), 1_000_000)
ANSWER = {"message": {"role": "assistant", "content": "Hello!"}, "embeddings": [[0.5]], "done": True}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ABSENT = object()
CHANGES = st.dictionaries(
    st.sampled_from([*version3(), "schema_version", "ttl", "identity", "another"]).filter("reply_to".__ne__),
    ANYTHING | st.just(ABSENT),
    max_size=4,
)
VERSIONS = st.sampled_from([2, "2", 3, "3"]) | ANYTHING.filter(lambda value: value is not None)
OPERATIONS = st.sampled_from(["chat", "stream", "stream_chat", "embed", "count_tokens", "moderate"])
CLAIMS = st.none() | st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "jti", "params"]), ANYTHING)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "reply_to": st.sampled_from([None, REPLY_TO, "llm.fleet.reply.ffffffffffffffff"]),
        "correlation_id": st.none() | st.text(max_size=40),
        "type": st.sampled_from([None, "llm.fleet.request", "task"]),
        "content_encoding": st.sampled_from([None, "identity", "utf-8"]),
    },
)


def request(changes: dict[str, Any], version: Any, operation: str, claims: Any, **decided: Any) -> dict[str, Any]:
    base = version3() if version in (3, "3") else version2()
    document = {**base, "protocol_version": version, "operation": operation, "reply_to": REPLY_TO, **changes, **decided}
    document = {name: value for name, value in document.items() if value is not ABSENT}
    if claims is not None:
        document["signed_token"] = token(document, claims)
    return document


def token(document: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with these claims; without any a good one, where the request has what a token repeats."""
    try:
        return encoded(claims, SECRET) if claims else sign(document, TOKENS)
    except (KeyError, ValueError, TypeError, OverflowError):
        return "no token"


@given(
    CHANGES, VERSIONS, OPERATIONS, CLAIMS, PROPERTIES, st.booleans(), st.sampled_from(READERS), st.sampled_from(LANES)
)
def test_read_of_a_request_with_anything_in_it_is_answered_in_its_version(
    changes: dict[str, Any],
    version: Any,
    operation: str,
    claims: Any,
    properties: dict[str, Any],
    sealed: bool,
    reader: RequestReader,
    lane: Any,
) -> None:
    changes = {name: value for name, value in changes.items() if name != "protocol_version"}
    document = json.loads(json.dumps(request(changes, version, operation, claims)))
    sent = delivery(json.dumps(document).encode(), lane=lane, **properties)
    if sealed:
        sent = replace(sent, message=CIPHER.encrypted(sent.message))
    found = reader.read(sent)
    assert not isinstance(found, Result), "it names a queue that may be answered to"
    assert found.verdict is Verdict.ACK
    for outcome in (found.failure or Failure("inference_failed", "because"), Success(ANSWER, 0.0, 0.1)):
        if found.failure is not None and isinstance(outcome, Success):
            continue
        reply, _told = REPLIES.write(found.dialect, found.request, outcome)
        body = json.loads(reply.message.body)
        assert reply.routing_key == REPLY_TO, "who is answered is what the body says, since a token covers that alone"
        assert reply.message.properties.type in ("llm.fleet.response", "llm.fleet.error")
        assert body["protocol_version"] == (2 if version in (2, "2") else 3 if version in (3, "3") else version)
        stated = document.get("operation")
        assert body["operation"] == (stated if isinstance(stated, str) and stated else lane.lane.type)
        known = document.get("correlation_id")
        if isinstance(known, str) and known:
            assert body["correlation_id"] == known
        if isinstance(outcome, Failure):
            assert {"code", "message", "error_class", "retryable", "metadata"} <= body.keys()
