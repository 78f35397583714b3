# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key, its entry, and files of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet_gateway.settings.keys import ApiKeys, KeyConfig, new_key

KEY, HASH = new_key()


def key(**settings: Any) -> KeyConfig:
    return KeyConfig(name="alice", hash=HASH, **settings)


def ring(tmp_path: Path, text: str) -> ApiKeys:
    path = tmp_path / "keys.yml"
    path.write_text(text)
    return ApiKeys(str(path))
