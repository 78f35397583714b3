# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Digests of blobs and manifests, and the file names made from them.

Ollama accepts ``sha256:`` and ``sha256-``, and does not normalise the case of the hexadecimal digits: upper-case digits
name another file (Ollama v0.33, manifest/paths.go). This module accepts only lower-case digits, as Ollama writes them,
so that a digest is always a safe part of a path.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from .errors import InvalidDigestError

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def parse_digest(text: object) -> str:
    """Return the canonical form ``sha256:<64 lower-case hex digits>``.

    :raises InvalidDigestError: for anything that is not a digest in either of Ollama's two spellings.
    """
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidDigestError(
            f"{_shown(text)} is not a SHA-256 digest",
            remedy="Write it as sha256: followed by 64 lower-case hexadecimal digits",
            digest=_shown(text),
        )
    return "sha256:" + match.group(1)


@lru_cache(maxsize=4096)  # called many times for the same blobs
def blob_file_name(digest: str) -> str:
    """Return the name of the file that holds a blob, ``sha256-<hex>``.

    :raises InvalidDigestError: as :func:`parse_digest`; so the name never leads out of its folder.
    """
    return parse_digest(digest).replace(":", "-")


def digest_of(content: bytes) -> str:
    """Return the digest of bytes held in memory."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 100 else shown[:97] + "..."
