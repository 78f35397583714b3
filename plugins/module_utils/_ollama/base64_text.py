# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Base64 without leniency: other characters, or wrong padding, make a text invalid."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Optional


def write_base64(content: bytes) -> str:
    """Return content as a text in base64."""
    return base64.b64encode(content).decode("ascii")


def read_base64(value: Any) -> Optional[bytes]:
    """Return the content of a text in base64; ``None`` for any other value."""
    if not isinstance(value, (str, bytes)):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
