# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: the vector of LegionIO's own library, and every way in which one can be none to its request."""

from __future__ import annotations

import base64
import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.tokens import (
    AUDIENCE,
    ISSUER,
    LONGEST_LIFE,
    MAX_TOKEN,
    TokenError,
    TokenExpiredError,
    TokenSettings,
    check,
    encoded,
    sign,
)

SECRET = "ab" * 32
OTHER_SECRET = "cd" * 32
SETTINGS = TokenSettings(SECRET)
MESSAGES = Path(__file__).resolve().parents[4] / "lab" / "legionio_messages"

#: What ruby-jwt makes of {"a": 1}, read in LegionIO's sources and checked there.
VECTOR = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.cXHghNaNpYoGCZ6_VF2Bk7_Gv3i7xbBmsFyGYeTy7Kg"

SIGNED = (
    *("request_id", "correlation_id", "idempotency_key", "operation", "provider", "provider_instance", "model"),
    *("params", "reply_to", "message_context", "caller", "trace_context", "timeout_seconds", "expires_at"),
)


def request(**changes: Any) -> dict[str, Any]:
    return {**json.loads((MESSAGES / "version2_request.json").read_text()), **changes}


def claims(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The claims of legion-llm's issuer; None leaves one out."""
    now = int(time.time())
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + 180,
        "jti": str(uuid.uuid4()),
        **{name: document[name] for name in SIGNED},
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def token(document: dict[str, Any], secret: str = SECRET, **changes: Any) -> str:
    return encoded(claims(document, **changes), secret)


def refused(made: str, document: dict[str, Any], received: float = 0.0) -> str:
    with pytest.raises(TokenError) as caught:
        check(made, document, SETTINGS, received or time.time())
    return f"{caught.value.code}: {caught.value.message}"


def test_a_token_is_written_as_ruby_writes_it() -> None:
    assert encoded({"a": 1}, SECRET) == VECTOR


def test_the_vector_has_a_right_signature() -> None:
    assert refused(VECTOR, request()) == "invalid_token: the token has no claim iss"
    assert "signature" in refused(VECTOR.replace(".cX", ".dX"), request())


def test_check_of_a_token_of_legionios_issuer_proves_its_request() -> None:
    document = request()
    made = claims(document)
    proof = check(encoded(made, SECRET), document, SETTINGS, time.time())
    assert (proof.token_id, proof.expires) == (made["jti"], made["exp"] + 30)


def test_check_of_a_token_of_ours_proves_its_request() -> None:
    for document in (request(), request(execution_contract="exact_offering_v1", offering_id="x"), request(ttl=9)):
        proof = check(sign(document, SETTINGS), document, SETTINGS, time.time())
        assert uuid.UUID(proof.token_id).version == 4


def test_a_token_of_ours_is_good_for_a_library_that_allows_no_leeway() -> None:
    made = jwt.decode(sign(request(), SETTINGS), SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert made["nbf"] <= made["iat"] - 29
    assert made["exp"] - made["iat"] == 180


def test_a_token_of_ours_lasts_for_as_long_as_its_request() -> None:
    document = request(timeout_seconds=600)
    made = jwt.decode(sign(document, SETTINGS), SECRET, algorithms=["HS256"], audience=AUDIENCE)
    assert 600 < made["exp"] - made["iat"] <= LONGEST_LIFE
    endless = request(timeout_seconds=10**6)
    check(sign(endless, SETTINGS), endless, SETTINGS, time.time())


@pytest.mark.parametrize("name", SIGNED)
def test_check_of_a_request_that_was_changed_refuses_it(name: str) -> None:
    made = token(request())
    changed = {"timeout_seconds": 31, "params": {"messages": []}}.get(name, "other")
    assert f"claim {name}" in refused(made, request(**{name: changed}))


@pytest.mark.parametrize("name", SIGNED)
def test_check_of_a_token_without_a_claim_refuses_it(name: str) -> None:
    assert f"claim {name}" in refused(token(request(), **{name: None}), request())


def test_check_compares_what_was_parsed_and_not_how_it_was_written() -> None:
    document = request(params={"b": [1, {"d": "\u00e4", "c": None}], "a": 1.0}, timeout_seconds=30)
    other = json.loads('{"a": 1.0, "b": [1, {"c": null, "d": "\\u00e4"}]}')
    check(token(document, params=other, timeout_seconds=30.0), document, SETTINGS, time.time())


@pytest.mark.parametrize("one, other", [(1, 1.0), (1, True), (0, False), (None, False), ({}, []), ("1", 1), ({}, None)])
def test_check_tells_values_apart_that_python_does_not(one: Any, other: Any) -> None:
    made = token(request(params={"x": one}))
    assert "claim params" in refused(made, request(params={"x": other}))


@pytest.mark.parametrize("name", ["execution_contract", "offering_id"])
def test_check_of_an_offering_that_was_added_or_taken_away_refuses_it(name: str) -> None:
    assert f"claim {name}" in refused(token(request()), request(**{name: "x"}))
    assert f"claim {name}" in refused(token(request(), **{name: "x"}), request())


def test_check_with_another_secret_refuses_the_token() -> None:
    assert "signature" in refused(token(request(), OTHER_SECRET), request())


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"aud": "somebody-else"}, "not for lex-llm-fleet-worker"),
        ({"aud": None}, "no claim aud"),
        ({"aud": 7}, "not for"),
        ({"iss": "somebody-else"}, "not issued by legion-llm"),
        ({"iss": None}, "no claim iss"),
        ({"nbf": None}, "no claim nbf"),
        ({"exp": None}, "no claim exp"),
        ({"jti": None}, "no claim jti"),
        ({"jti": ""}, "no claim jti"),
        ({"jti": "x" * 256}, "no claim jti"),
        ({"jti": 7}, "token"),
        ({"exp": "soon"}, "not signed with HS256"),
        ({"exp": str(2**40)}, "no claim exp that is a number"),
        ({"exp": 2**62}, "longer than the worker remembers it"),
    ],
)
def test_check_of_a_token_with_a_wrong_claim_refuses_it(changes: dict[str, Any], text: str) -> None:
    assert text in refused(token(request(), **changes), request())


def test_check_of_another_issuer_and_audience_is_by_the_settings() -> None:
    document = request()
    made = token(document, iss="theirs", aud="ours")
    check(made, document, TokenSettings(SECRET, "theirs", "ours"), time.time())


@pytest.mark.parametrize("seconds, good", [(100, True), (-20, True), (-40, False)])
def test_check_of_an_expired_token_allows_for_other_clocks(seconds: int, good: bool) -> None:
    document = request()
    made = token(document, nbf=int(time.time()) - 300, exp=int(time.time()) + seconds)
    if good:
        check(made, document, SETTINGS, time.time())
    else:
        with pytest.raises(TokenExpiredError, match="expired"):
            check(made, document, SETTINGS, time.time())


@pytest.mark.parametrize("seconds, good", [(-20, True), (25, True), (60, False)])
def test_check_of_a_token_of_the_future_allows_for_other_clocks(seconds: int, good: bool) -> None:
    document = request()
    made = token(document, nbf=int(time.time()) + seconds, iat=int(time.time()))
    if good:
        check(made, document, SETTINGS, time.time())
    else:
        assert "clocks" in refused(made, document)


def test_check_of_a_request_that_waited_here_counts_from_when_it_came() -> None:
    document = request()
    made = token(document, exp=int(time.time()) - 100, nbf=int(time.time()) - 300)
    check(made, document, SETTINGS, time.time() - 200)
    assert refused(made, document).startswith("token_expired")


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_check_takes_the_algorithm_from_nobody() -> None:
    document = request()
    made = claims(document)
    none = f"{part({'alg': 'none'})}.{part(made)}."
    assert "HS256" in refused(none, document)
    for algorithm in ("HS384", "HS512"):
        assert "HS256" in refused(jwt.encode(made, SECRET, algorithm=algorithm), document)
    for name in ("None", "hs256", "RS256", "", None, 7):
        _header, body, signature = token(document).split(".")
        assert refused(f"{part({'alg': name})}.{body}.{signature}", document)


@pytest.mark.parametrize(
    "made",
    [
        "unsigned",
        "",
        "x",
        "a.b.c",
        "..",
        "\ud800",
        "\x00" * 10,
        VECTOR + ".x",
        "x" * (MAX_TOKEN + 1),
        "x" * 5000 + ".x.x",
        part([1]) + "." + part([1]) + ".x",
        encoded({}, SECRET),
    ],
    ids=range(12),
)
def test_check_of_what_is_no_token_refuses_it(made: str) -> None:
    text = refused(made, request())
    assert text.startswith("invalid_token") and len(text) < 200


def test_check_of_a_deeply_nested_token_refuses_it() -> None:
    header, _body, _signature = token(request()).split(".")
    deep = base64.urlsafe_b64encode(b'{"a":' * 90_000 + b"1" + b"}" * 90_000).decode().rstrip("=")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{header}.{deep}".encode(), SECRET.encode()
    )
    made = f"{header}.{deep}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert refused(made, request()).startswith("invalid_token")


def test_no_message_has_anything_of_a_token_or_a_secret_in_it() -> None:
    document = request(params={"messages": [{"role": "user", "content": "the prompt"}]})
    wrong = [
        token(document, OTHER_SECRET),
        token(document, params={}),
        token(document, aud="x"),
        token(document, exp=1),
    ]
    for made in wrong:
        text = refused(made, document)
        assert "prompt" not in text and SECRET not in text
        assert not any(piece in text for piece in made.split("."))
    assert SECRET not in repr(SETTINGS)
