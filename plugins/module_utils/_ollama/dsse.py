# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""DSSE, the Dead Simple Signing Envelope (v1.0.2): the bytes that a signature signs."""

from __future__ import annotations


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that DSSE signs for a payload (its pre-authentication encoding)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
