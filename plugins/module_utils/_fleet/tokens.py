# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Signed tokens: the proof that the sender of a request of protocol version 2 or 3 has the cluster secret.

A token is a JWT (HS256) that repeats the fields of its request as claims. The claims are compared with the body after
both are parsed, so the order of keys does not matter. The comparison distinguishes values as JSON does: ``1``, ``1.0``
and ``true`` are three values. Ruby distinguishes the same values inside objects.

A token contains the whole prompt. No error message of this module contains a part of a token.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .._ollama.errors import CollectionError, MissingDependencyError
from .._ollama.numbers import finite

#: The algorithm is never taken from a token. LegionIO's cluster secret is shared, hence a signature with one key.
ALGORITHM = "HS256"

#: The default names of legion-llm as issuer and of lex-llm's worker as audience.
ISSUER = "legion-llm"
AUDIENCE = "lex-llm-fleet-worker"

#: The value of the field ``signed_token`` in an unsigned request.
UNSIGNED = "unsigned"

#: The fewest seconds for which our tokens are valid, the same as legion-llm's (dispatch.token_ttl_seconds).
LIFE = 180.0

#: Seconds by which the clocks of two machines may differ. The ``nbf`` of our tokens is earlier by this difference,
#: because the library of LegionIO's workers allows no difference.
LEEWAY = 30.0

#: The most seconds for which a token may be valid. The worker remembers a token until it expires.
LONGEST_LIFE = 3600.0

#: The most characters of a token, and of its header, which is parsed before the signature is checked. LegionIO limits a
#: request to 1 MiB.
MAX_TOKEN = 1024 * 1024
MAX_TOKEN_HEADER = 2048

#: The most characters of a token's id, which the worker remembers; LegionIO's has 36.
MAX_TOKEN_ID = 255

#: The fewest characters of a secret. HS256 requires a key as long as its hash, 32 bytes (RFC 7518, 3.2); LegionIO's
#: secret has 64 characters.
SHORTEST_SECRET = 32

#: The fields of a request that its token repeats; the number among them; and the fields that a request may lack.
SIGNED = (
    "request_id",
    "correlation_id",
    "idempotency_key",
    "operation",
    "provider",
    "provider_instance",
    "model",
    "reply_to",
    "expires_at",
    "message_context",
    "params",
    "caller",
    "trace_context",
)
_NUMBER = "timeout_seconds"
_EXACT = ("execution_contract", "offering_id")


class TokenError(CollectionError):
    """A token is not a valid proof for its request."""

    code = "invalid_token"


class TokenExpiredError(TokenError):
    """A token has expired."""

    code = "token_expired"


@dataclass(frozen=True)
class TokenSettings:
    """The secret, issuer and audience of tokens.

    :ivar secret: the cluster secret as LegionIO writes it, in hexadecimal digits; its text is the key.
    """

    secret: str = field(repr=False)
    issuer: str = ISSUER
    audience: str = AUDIENCE


@dataclass(frozen=True)
class Proof:
    """The result of a successful check of a token.

    :ivar token_id: the claim ``jti``.
    :ivar expires: the time until which the token is accepted, in seconds since 1970.
    """

    token_id: str
    expires: float


def _library() -> Any:
    try:
        import jwt
    except ImportError as error:
        raise MissingDependencyError("PyJWT", "sign requests and check their tokens") from error
    return jwt


def sign(document: Mapping[str, Any], settings: TokenSettings) -> str:
    """Return the token of a request.

    :param document: the body, complete except for its token.
    :raises MissingDependencyError: without PyJWT.
    """
    now = int(time.time())
    seconds = finite(document.get(_NUMBER)) or 0.0
    claims = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "iat": now,
        "nbf": now - int(LEEWAY),
        "exp": now + int(max(LIFE, min(seconds + LEEWAY, LONGEST_LIFE - LEEWAY))),
        "jti": str(uuid.uuid4()),
        **{name: document[name] for name in (*SIGNED, _NUMBER)},
        **{name: document[name] for name in _EXACT if name in document},
    }
    return encoded(claims, settings.secret)


def encoded(claims: Mapping[str, Any], secret: str) -> str:
    """Return claims as a token, with the header that LegionIO's tokens have."""
    # With an empty typ, PyJWT leaves out the type that it otherwise adds.
    token: str = _library().encode(dict(claims), secret, algorithm=ALGORITHM, headers={"typ": ""})
    return token


def check(token: str, document: Mapping[str, Any], settings: TokenSettings, received: float) -> Proof:
    """Check the token of a request.

    :param document: the body, with a complete envelope.
    :param received: when the request arrived, in seconds since 1970. The wait in this worker since then does not count.
    :raises TokenExpiredError: if the token has expired.
    :raises TokenError: if it is not a valid token of this request.
    :raises MissingDependencyError: without PyJWT.
    """
    if token == UNSIGNED:
        raise TokenError("the request is not signed, and this worker serves only signed requests")
    if len(token) > MAX_TOKEN or len(token.partition(".")[0]) > MAX_TOKEN_HEADER:
        raise TokenError("the token is too large")
    claims = _claims(token, settings, LEEWAY + max(0.0, time.time() - received))
    expires = finite(claims["exp"])
    if expires is None:
        raise TokenError("the token has no claim exp that is a number")
    if expires - received > LONGEST_LIFE:
        raise TokenError(f"the token is valid for more than {LONGEST_LIFE:g} s, longer than the worker remembers it")
    for name in (*SIGNED, *_EXACT):
        if not _same(claims.get(name), document.get(name)):
            raise TokenError(f"the claim {name} differs from the request")
    if finite(claims.get(_NUMBER)) != finite(document[_NUMBER]):
        raise TokenError(f"the claim {_NUMBER} differs from the request")
    return Proof(claims["jti"], expires + LEEWAY)


def _claims(token: str, settings: TokenSettings, leeway: float) -> Mapping[str, Any]:
    """Return the claims of a token after a check of its signature, times, issuer and audience."""
    jwt = _library()
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            settings.secret,
            algorithms=[ALGORITHM],
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=leeway,
            options={"require": ["iss", "aud", "nbf", "exp", "jti"]},
        )
    except jwt.ExpiredSignatureError:
        raise TokenExpiredError("the token has expired") from None
    except jwt.ImmatureSignatureError:
        raise TokenError("the token is not valid yet; compare the clocks of requester and worker") from None
    except jwt.InvalidIssuerError:
        raise TokenError(f"the token is not issued by {settings.issuer} (protocol.issuer)") from None
    except jwt.InvalidAudienceError:
        raise TokenError(f"the token is not for {settings.audience} (protocol.audience)") from None
    except jwt.MissingRequiredClaimError as error:
        raise TokenError(f"the token has no claim {error.claim}") from None
    except jwt.InvalidSignatureError:
        raise TokenError("the signature of the token is wrong; compare the cluster secrets") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError(f"the token is not signed with {ALGORITHM}") from None
    if not isinstance(claims["jti"], str) or not 0 < len(claims["jti"]) <= MAX_TOKEN_ID:
        raise TokenError(f"the token has no claim jti of 1 to {MAX_TOKEN_ID} characters")
    return MappingProxyType(dict(claims))


def _same(claim: Any, value: Any) -> bool:
    """Return whether two values are the same JSON, apart from the order of keys. For Python, 1 and true are equal."""
    if isinstance(claim, str) or isinstance(value, str):
        return type(claim) is type(value) and bool(claim == value)
    try:
        return json.dumps(claim, sort_keys=True) == json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        return False
