# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of protocol versions 2 and 3 for tests of the worker."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_MESSAGES = Path(__file__).resolve().parents[3] / "lab" / "legionio_messages"


def version2(**changes: Any) -> dict[str, Any]:
    """The literal request, not expired, with some of its fields changed."""
    return _request("version2_request", changes)


def version3(**changes: Any) -> dict[str, Any]:
    """The same of version 3."""
    return _request("version3_request", changes)


def _request(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    ends = datetime.fromtimestamp(int(time.time()) // 3600 * 3600 + 7200, timezone.utc)
    document = json.loads((_MESSAGES / f"{name}.json").read_text())
    return {**document, "expires_at": ends.isoformat().replace("+00:00", "Z"), **changes}
