# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Offering ids, by which a request of the contract ``exact_offering_v1`` names family, instance, kind and model.

There are two forms, and requesters are changing from the first to the second:

``off:v1:<64 hex digits>``
    SHA-256 of family, instance and model, each as ``<bytes>:<text>``.
``<tier>:<family>:<instance>:<type>:<model>``
    Split at the first four colons. The tier is the requester's view: any known tier is accepted.
"""

from __future__ import annotations

import hashlib

#: The only contract there is.
EXACT = "exact_offering_v1"

_DIGEST = "off:v1:"
TIERS = ("direct", "local", "fleet", "cloud", "frontier")


def digest_id(family: str, instance: str, model: str) -> str:
    """Return an id of the first form."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (family, instance, model)]
    text = b"".join(str(len(part)).encode() + b":" + part for part in parts)
    return _DIGEST + hashlib.sha256(text).hexdigest()


def readable_id(tier: str, family: str, instance: str, kind: str, model: str) -> str:
    """Return an id of the second form.

    :param kind: ``inference`` or ``embedding``.
    """
    return ":".join((tier, family, instance, kind, model))


def means(offering_id: str, family: str, instance: str, kind: str, model: str) -> bool:
    """Return whether an id, in either form, means this offering."""
    if offering_id.startswith(_DIGEST):
        return offering_id == digest_id(family, instance, model)
    tier, _colon, rest = offering_id.partition(":")
    return tier in TIERS and rest == ":".join((family, instance, kind, model))
