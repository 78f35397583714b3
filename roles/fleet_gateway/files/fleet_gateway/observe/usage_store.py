# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The usage of each key, in a small SQLite file: requests and tokens by day, key and model.

The gateway writes a row before the client has the end of its answer. The kernel has the row then, so a killed gateway
loses nothing. A machine without power may lose the last moments.

If a row cannot be written, for example because the disk is full, the client has its answer nevertheless, and the row
waits in memory for the next one. A gateway that ends before loses the row.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ..logs.log import Log

LOG = Log()

FILE = "usage.sqlite3"

#: Seconds to wait for another process that locks the file: at the start, and later, when all clients wait, too.
PATIENCE = 5.0
SHORT_PATIENCE = 0.1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, key, model) DO UPDATE SET
    requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens, estimated = estimated + excluded.estimated
"""
_COLUMNS = ("day", "key", "model", "requests", "input_tokens", "output_tokens", "estimated")


class UsageStore:
    """Writes the file. For one thread.

    :param directory: the folder of the file.
    :raises OSError: if the folder takes no file.
    :raises sqlite3.Error: if the file cannot be used.
    """

    def __init__(self, directory: str) -> None:
        #: The numbers of the rows that are not in the file yet, by day, key and model.
        self._unwritten: dict[tuple[str, str, str], list[int]] = {}
        self._is_failing = False
        self._day = _day()
        try:
            self._database = sqlite3.connect(Path(directory) / FILE, isolation_level=None, timeout=PATIENCE)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
            self._today = self._used_on(self._day)
            self._database.execute(f"PRAGMA busy_timeout={SHORT_PATIENCE * 1000:.0f}")
        except sqlite3.Error:
            # SQLite does not say why it cannot create a file. The system does.
            with tempfile.TemporaryFile(dir=directory):
                raise

    def add(self, key: str, model: str, input_tokens: int, output_tokens: int, *, estimated: bool) -> None:
        """Count an answered request."""
        self._begin_new_day()
        self._today[key] = self._today.get(key, 0) + input_tokens + output_tokens
        row = (self._day, key, model)
        known = self._unwritten.get(row, [0, 0, 0, 0])
        new = (1, input_tokens, output_tokens, int(estimated))
        self._unwritten[row] = [before + more for before, more in zip(known, new)]
        self._write()

    def tokens_today(self, key: str) -> int:
        """Return the tokens that a key has used since midnight UTC, input and output."""
        self._begin_new_day()
        return self._today.get(key, 0)

    def close(self) -> None:
        self._write()
        with suppress(sqlite3.Error):
            self._database.close()

    def _write(self) -> None:
        try:
            while self._unwritten:
                row, numbers = next(iter(self._unwritten.items()))
                try:
                    self._database.execute(_ADD, (*row, *numbers))
                except (OverflowError, UnicodeError) as error:  # no later attempt can write this row
                    LOG.error("usage_dropped", key=row[1], error=str(error))
                del self._unwritten[row]
        except sqlite3.Error as error:
            self._fail(error)
            return
        if self._is_failing:
            self._is_failing = False
            LOG.info("usage_written")

    def _fail(self, error: sqlite3.Error) -> None:
        if not self._is_failing:  # log an outage once, and not with every request
            self._is_failing = True
            LOG.warning("usage_not_written", error=str(error), remedy="free space on the disk of the state directory")

    def _begin_new_day(self) -> None:
        day = _day()
        if day == self._day:
            return
        self._day, self._today = day, {}
        try:
            self._today = self._used_on(day)  # the clock may have been wrong before
        except sqlite3.Error as error:
            self._fail(error)

    def _used_on(self, day: str) -> dict[str, int]:
        rows = self._database.execute(
            "SELECT key, SUM(input_tokens + output_tokens) FROM usage WHERE day = ? GROUP BY key", (day,)
        )
        return dict(rows.fetchall())


def _day() -> str:
    return datetime.now(timezone.utc).date().isoformat()


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
