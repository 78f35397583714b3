# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The usage of each key, in a small SQLite file: requests and tokens by day, key and model.

The gateway writes a row before the client has the end of its answer. The kernel has the row then, so a killed gateway
loses nothing. A machine without power may lose the last moments.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

FILE = "usage.sqlite3"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (day, key, model) DO UPDATE SET
    requests = requests + 1, input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens, estimated = estimated + excluded.estimated
"""
_COLUMNS = ("day", "key", "model", "requests", "input_tokens", "output_tokens", "estimated")


class UsageStore:
    """Writes the file. For one thread.

    :param directory: the folder of the file.
    :raises sqlite3.Error: if the file cannot be used.
    """

    def __init__(self, directory: str) -> None:
        self._database = sqlite3.connect(Path(directory) / FILE, isolation_level=None, timeout=5)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_SCHEMA)
        self._day = ""
        self._today: dict[str, int] = {}

    def add(self, key: str, model: str, input_tokens: int, output_tokens: int, *, estimated: bool) -> None:
        """Count an answered request."""
        self._begin_new_day()
        self._database.execute(_ADD, (self._day, key, model, input_tokens, output_tokens, int(estimated)))
        self._today[key] = self._today.get(key, 0) + input_tokens + output_tokens

    def tokens_today(self, key: str) -> int:
        """Return the tokens that a key has used since midnight UTC, input and output."""
        self._begin_new_day()
        return self._today.get(key, 0)

    def close(self) -> None:
        self._database.close()

    def _begin_new_day(self) -> None:
        day = datetime.now(timezone.utc).date().isoformat()
        if day != self._day:
            self._day = day
            rows = self._database.execute(
                "SELECT key, SUM(input_tokens + output_tokens) FROM usage WHERE day = ? GROUP BY key", (day,)
            )
            self._today = dict(rows.fetchall())


def read_usage(directory: str, since: Optional[str] = None) -> list[dict[str, Any]]:
    """Return all rows, oldest first. A running gateway may write at the same time.

    :param since: the first day, as ``2026-11-30``.
    :raises sqlite3.Error: if the file does not exist.
    """
    database = sqlite3.connect(f"file:{Path(directory) / FILE}?mode=ro", uri=True, timeout=5)
    try:
        rows = database.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM usage WHERE day >= ? ORDER BY day, key, model",  # noqa: S608 - ours
            (since or "",),
        )
        return [dict(zip(_COLUMNS, row)) for row in rows]
    finally:
        database.close()
