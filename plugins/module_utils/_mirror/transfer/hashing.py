# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Digests of files."""

from __future__ import annotations

import hashlib
import os

#: Bytes read at once: small enough to stay in a core's cache between reading and hashing.
_BLOCK = 256 * 1024


def digest_of_file(descriptor: int) -> str:
    """Return the digest of the whole content of an open file, regardless of its position."""
    seen = hashlib.sha256()
    view = memoryview(bytearray(_BLOCK))
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        file.seek(0)
        while True:
            count = file.readinto(view)
            if not count:
                return f"sha256:{seen.hexdigest()}"
            seen.update(view[:count])
