# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed broadcasts, and broadcasts whose signature no node may accept."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Callable

from fleet_worker._fleet.broadcast_signatures import HEADER, LIFETIME, SKEW, proof_fields, signature_header
from fleet_worker._mirror.signing.keys import PrivateKey

from . import odd_fields
from .amqp_frames import text
from .odd_drafts import Draft, OddMessage, changed, finished
from .odd_json import odd_value, plain, written
from .odd_orders import EXCHANGE, KEY, ODDITIES, draft_of

#: Seconds for which the signed broadcasts are valid.
_VALID = 600


@dataclass(frozen=True)
class Keys:
    """The key that the nodes know, and a key that they do not know."""

    known: PrivateKey
    unknown: PrivateKey


def honest_signed_order(keys: Keys, reply_to: str, correlation_id: str) -> OddMessage:
    """Return a valid broadcast with a valid signature."""
    draft = draft_of(reply_to, correlation_id)
    _sign(draft, keys.known)
    return finished(draft, EXCHANGE, KEY)


def odd_signed_order(random: Random, keys: Keys, reply_to: str, correlation_id: str) -> OddMessage:
    """Return a broadcast with oddities and a valid signature, or a broadcast without a valid signature.

    The oddity depends on ``random`` alone; time, nonce and signature are new each time.
    """
    draft = draft_of(reply_to, correlation_id)
    if random.random() < 0.4:
        changed(random, draft, ODDITIES)
        draft.served &= draft.copies == 1  # a node carries out one copy, and refuses the others
        _sign(draft, keys.known)
    else:
        draft.served, draft.forbidden = False, True
        if random.random() < 0.3:
            changed(random, draft, ODDITIES)
        name = random.choice(list(_FAULTS))
        draft.oddities.append(name)
        _FAULTS[name](random, draft, keys)
    return finished(draft, EXCHANGE, KEY)


def copied(message: OddMessage, reply_to: str) -> OddMessage:
    """Return the copy of a broadcast that a stranger has read, with another address for the answer."""
    draft = draft_of(reply_to, "copy")
    wire = message.wire
    draft.properties = {**wire.properties, **draft.properties}
    draft.body = wire.body
    draft.oddities.append("copied")
    # If the node is restarted meanwhile, the broker redelivers the copy, and the node says nothing about it.
    draft.answered, draft.served, draft.forbidden = False, False, True
    return finished(draft, EXCHANGE, KEY)


def _sign(draft: Draft, key: PrivateKey, proof: Mapping[str, bytes] | None = None) -> None:
    """Add the proof to the body, and its signature to the headers."""
    if draft.body is None:
        draft.fields.update(_proof() if proof is None else proof)
        draft.body = written(draft.fields)
    _add_signature(draft, signature_header(draft.body, key)[HEADER].encode())


def _proof() -> dict[str, bytes]:
    return {name: plain(value) for name, value in proof_fields(_VALID).items()}


def _add_signature(draft: Draft, value: bytes, *, kind: Callable[[bytes], bytes] = text) -> None:
    # At the beginning, because the last headers of a draft with too many are dropped.
    draft.headers.insert(0, (HEADER.encode(), kind(value)))


def _no_signature(_random: Random, draft: Draft, _keys: Keys) -> None:
    draft.fields.update(_proof())


def _unknown_key(random: Random, draft: Draft, keys: Keys) -> None:
    """The signature of another key, sometimes under the name of the known key."""
    _sign(draft, keys.unknown)
    if random.random() < 0.5:
        name, value = draft.headers[0]
        draft.headers[0] = (name, value.replace(keys.unknown.key_id.encode(), keys.known.key_id.encode()))


def _changed_body(random: Random, draft: Draft, keys: Keys) -> None:
    _sign(draft, keys.known)
    assert draft.body is not None
    good = draft.body
    position = random.randrange(len(good)) if good else 0
    draft.body = random.choice(
        (
            good + b" ",
            b" " + good,
            good + good,
            good[:-1] + b"!" if good else b"!",
            good[:position]
            + bytes([(good[position] if good else 0) ^ (1 << random.randrange(8))])
            + good[position + 1 :],
            good.replace(b"135m", b"1.7b") + b"\n",
        )
    )


def _odd_header(random: Random, draft: Draft, keys: Keys) -> None:
    """The header of a valid signature, changed in one place, or any other value."""
    _sign(draft, keys.known)
    name, _value = draft.headers.pop(0)
    assert draft.body is not None
    version, key_id, signature = signature_header(draft.body, keys.known)[HEADER].encode().split(b" ")
    raw = base64.b64decode(signature)
    if random.random() < 0.2:
        draft.headers.insert(0, (name, odd_fields.odd_value(random)))
        draft.refusable = True
        return
    position = random.randrange(len(raw))
    flipped = raw[:position] + bytes([raw[position] ^ (1 << random.randrange(8))]) + raw[position + 1 :]
    value = random.choice(
        (
            b"",
            b" ".join((b"v2", key_id, signature)),
            b" ".join((version, key_id.upper(), signature)) if key_id.upper() != key_id else b"v1",
            b" ".join((version, key_id[:-1], signature)),
            b" ".join((version, b"0" * 64, signature)),
            b"  ".join((version, key_id, signature)),
            b" ".join((version, key_id, signature)) + b"\n",
            b" ".join((version, key_id, signature)) + b"\x00",
            b" ".join((version, key_id, signature.rstrip(b"=") + b"====")),
            b" ".join((version, key_id, b"A" * 96)),
            b" ".join((version, key_id, base64.b64encode(flipped))),
            b" ".join((version, key_id, base64.b64encode(raw + b"\x00"))),
            b" ".join((version, key_id, base64.b64encode(raw[:-1]))),
            b" ".join((version, key_id, base64.b64encode(bytes(64)))),
            b" ".join((version, key_id, signature * 4)),
            b" ".join((version, key_id, b"A" * 60_000)),
        )
    )
    _add_signature(draft, value)


def _another_type(_random: Random, draft: Draft, keys: Keys) -> None:
    """A signature over the bytes alone, as a signature of another kind of content could be."""
    draft.fields.update(_proof())
    draft.body = draft.body if draft.body is not None else written(draft.fields)
    signature = base64.b64encode(keys.known.sign(draft.body)).decode()
    _add_signature(draft, f"v1 {keys.known.key_id} {signature}".encode())


def _odd_proof(random: Random, draft: Draft, keys: Keys) -> None:
    """A valid signature over a time, an end or a nonce that no sender writes."""
    now = int(time.time())
    draft.body = None
    times = (b"0", b"-1", b"true", b"null", b'"%d"' % now, b"%d.5" % now, b"1e9", b"[%d]" % now, b"9" * 30, b"1" * 4400)
    nonces = (b'""', b'"x"', b"null", b"1", b'["0123456789abcdef"]', b'"0123456789abcdef\\n"', b'"%s"' % (b"a" * 65))
    wrong: list[dict[str, bytes]] = [
        {"signed_at": random.choice(times)},
        {"expires_at": random.choice(times)},
        {"nonce": random.choice(nonces)},
        {"signed_at": b"%d" % (now + SKEW + 100), "expires_at": b"%d" % (now + SKEW + 200)},
        {"signed_at": b"%d" % (now - SKEW - 200), "expires_at": b"%d" % (now - SKEW - 100)},
        # Still valid, but from a time before the node kept a record.
        {"signed_at": b"%d" % (now - LIFETIME + 100), "expires_at": b"%d" % (now + 100)},
        {"expires_at": b"%d" % (now + LIFETIME + 100)},
        {"signed_at": b"%d" % now, "expires_at": b"%d" % now},
        {"signed_at": b"%d" % now, "expires_at": b"%d" % (now - 1)},
    ]
    proof = {**_proof(), **random.choice(wrong)}
    if random.random() < 0.2:
        del proof[random.choice(list(proof))]
    _sign(draft, keys.known, proof)


def _name_twice(random: Random, draft: Draft, keys: Keys) -> None:
    """A valid signature over a body whose readers can disagree."""
    draft.fields.setdefault("function", b"0")
    good = written({**draft.fields, **_proof()})
    again = random.choice((b'"function":"import_from_s3"', b'"model":"all-minilm"', b'"nonce":%s' % odd_value(random)))
    draft.body = good[:-1] + b"," + again + b"}"
    _sign(draft, keys.known)


def _no_function(_random: Random, draft: Draft, keys: Keys) -> None:
    """A valid signature over a body whose function is in an unsigned header."""
    draft.body = None
    draft.fields.pop("function", None)
    _sign(draft, keys.known)
    draft.headers.append((b"function", text(b"plan_import_from_s3")))


_FAULTS: Mapping[str, Callable[[Random, Draft, Keys], None]] = {
    "no_signature": _no_signature,
    "unknown_key": _unknown_key,
    "changed_body": _changed_body,
    "odd_header": _odd_header,
    "another_type": _another_type,
    "odd_proof": _odd_proof,
    "name_twice": _name_twice,
    "no_function": _no_function,
}
