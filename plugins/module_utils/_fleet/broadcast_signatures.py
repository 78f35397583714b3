# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Signatures of broadcasts, with the same kind of keys as signatures of models.

A signature covers the bytes of the body, so that all readers agree on its content: function, model, nodes and all other
fields, with the time, the end of validity and a nonce. As in DSSE, the signature also covers a type, so that the
signature of a model is not valid for a broadcast. The signature is in a separate header, and a reader without support
for signatures still reads the body.

The keys come from the caller: this package only needs the methods of :class:`SigningKey` and :class:`KnownKeys`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from .._ollama.base64_text import read_base64, write_base64
from .._ollama.dsse import signed_bytes
from .._ollama.json_text import AmbiguousObject, read_json_closely
from .._ollama.text import printable
from .errors import FleetError
from .messages import Message

#: The header with the signature.
HEADER = "x-legion-fleet-signature"

#: The type of the signed bytes.
PAYLOAD_TYPE = "application/vnd.legionio.broadcast+json"

#: Seconds by which the clocks of a sender and a node may differ, the same as for S3 and for neighbours.
SKEW = 900

#: The most seconds for which a broadcast is valid: the time for which the queue of a stopped node keeps it.
LIFETIME = 86400

#: The characters of a key's id in messages.
_SHOWN = 16

_VALUE = re.compile(r"v1 ([0-9a-f]{64}) ([A-Za-z0-9+/]{16,256}={0,2})", re.ASCII)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)

#: A time in seconds since 1970 that is too late for any valid broadcast.
_LATEST = 1 << 40


class BroadcastUnsignedError(FleetError):
    """A broadcast has no signature, and the node demands one."""

    code = "broadcast_unsigned"


class BroadcastSignatureError(FleetError):
    """A broadcast has a signature that no known key has made."""

    code = "broadcast_signature"


class BroadcastExpiredError(FleetError):
    """A signed broadcast is not valid now: it is too old, or from the future."""

    code = "broadcast_expired"


class SigningKey(Protocol):
    """A key that signs."""

    @property
    def key_id(self) -> str:
        """64 hexadecimal digits."""

    def sign(self, content: bytes) -> bytes:
        """Return the signature of some content."""


class KnownKey(Protocol):
    """A key that checks signatures."""

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Return whether a signature of some content is this key's."""


class KnownKeys(Protocol):
    """The keys whose signatures are accepted. Their text (``str``) lists their ids."""

    def get(self, key_id: str) -> Optional[KnownKey]:
        """Return the key of an id; None if there is none."""


@dataclass(frozen=True)
class SignedBroadcast:
    """A broadcast with a valid signature.

    :ivar digest: a digest that only the copies of this broadcast share.
    :ivar signed_at: the time of the signature, in seconds since 1970.
    :ivar expires_at: the end of validity.
    """

    digest: str
    signed_at: int
    expires_at: int

    def require_current(self, now: float) -> None:
        """Check that the broadcast is valid at a time.

        :param now: the time in seconds since 1970.
        :raises BroadcastExpiredError: if the broadcast is too old, or from the future.
        """
        if self.signed_at > now + SKEW:
            raise BroadcastExpiredError(
                f"it was signed {self.signed_at - now:.0f} seconds from now",
                remedy="Compare the clock of the machine that sends it with the clock of the node",
            )
        if now > self.expires_at + SKEW:
            raise BroadcastExpiredError(
                f"it has been invalid for {now - self.expires_at:.0f} seconds",
                remedy="Send it again; if it was sent just now, compare the clocks",
            )


def proof_fields(seconds: float) -> dict[str, Any]:
    """Return the fields that a body needs besides its content, to be signed now.

    :param seconds: how long the broadcast is valid; more than a day counts as a day.
    """
    now = int(time.time())
    return {
        "signed_at": now,
        "expires_at": now + int(max(1, min(seconds, LIFETIME))),
        "nonce": secrets.token_hex(16),
    }


def signature_header(body: bytes, key: SigningKey) -> dict[str, str]:
    """Return the header with the signature of a body."""
    signature = write_base64(key.sign(signed_bytes(PAYLOAD_TYPE, body)))
    return {HEADER: f"v1 {key.key_id} {signature}"}


def verified(message: Message, keys: KnownKeys) -> SignedBroadcast:
    """Check the signature of a broadcast, and only then read the body.

    :raises BroadcastUnsignedError: if the broadcast has no signature.
    :raises BroadcastSignatureError: if no known key has signed the broadcast, or its body cannot be signed.
    """
    value = message.headers.get(HEADER)
    if value is None:
        raise BroadcastUnsignedError(
            f"it has no signature of the known keys ({keys})", remedy="Send it with signing_key"
        )
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    signature = read_base64(found[2]) if found else None
    if found is None or signature is None:
        raise BroadcastSignatureError(f"its signature is malformed: {printable(value, 40)}")
    key = keys.get(found[1])
    if key is None:
        raise BroadcastSignatureError(
            f"it is signed with the key {found[1][:_SHOWN]}, and the known keys are: {keys}",
            remedy="Add the key to those of the node if it is one of yours",
        )
    if not key.verifies(signature, signed_bytes(PAYLOAD_TYPE, message.body)):
        raise BroadcastSignatureError(
            f"its signature was not made with the key {found[1][:_SHOWN]} that it names,"
            " or somebody has changed the broadcast"
        )
    return _read(message.body)


def _read(body: bytes) -> SignedBroadcast:
    """Read a body with a valid signature, which may still have any content."""
    try:
        document = read_json_closely(body.decode("utf-8"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise BroadcastSignatureError("the signed body is not a JSON object in UTF-8")
    if isinstance(document, AmbiguousObject):
        raise BroadcastSignatureError("the signed body has a name twice, so that readers would disagree on it")
    if "function" not in document:  # an unsigned header would decide
        raise BroadcastSignatureError("the signed body has no function")
    nonce = document.get("nonce")
    signed_at, expires_at = _seconds(document, "signed_at"), _seconds(document, "expires_at")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce) or signed_at is None or expires_at is None:
        raise BroadcastSignatureError("the signed body has no nonce, signed_at and expires_at, so it could be repeated")
    if not 0 < expires_at - signed_at <= LIFETIME:
        raise BroadcastSignatureError(
            f"it is valid from {signed_at} to {expires_at}, and {LIFETIME} seconds are allowed"
        )
    return SignedBroadcast(hashlib.sha256(body).hexdigest(), signed_at, expires_at)


def _seconds(document: Mapping[str, Any], name: str) -> Optional[int]:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < _LATEST else None
