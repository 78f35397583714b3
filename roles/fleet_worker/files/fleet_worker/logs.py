# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log: one line for each event, as logfmt or JSON, on standard output.

Never in it: prompts, answers, credentials.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

_PLAIN = re.compile(r"[^\s\"=\\]+")


class Log:
    """Writes events, each with its fields."""

    def __init__(self, name: str = "fleet_worker") -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Write an event with the traceback of the exception that is being handled."""
        self._logger.log(logging.ERROR, event, exc_info=sys.exc_info(), extra={"fields": fields})

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        self._logger.log(level, event, extra={"fields": fields})


def set_up(style: str, level: str) -> None:
    """Send the log to standard output.

    :param style: ``logfmt`` or ``json``.
    :param level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    # None of our lines says where in the code or in which thread it was written, and to find out is half of its cost
    # ("Optimization" in the documentation of logging).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json() if style == "json" else _Logfmt())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # What pika says of a lost connection is said by us, once and with a remedy. What it says below a warning has whole
    # messages in it, prompts and answers with them.
    logging.getLogger("pika").setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)
    # urllib3 warns of each connection that it has to make anew.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields = {
        "time": f"{moment}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "event": record.getMessage(),
        **getattr(record, "fields", {}),
    }
    if record.name != "fleet_worker":
        fields["logger"] = record.name
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return {name: value for name, value in fields.items() if value is not None}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record), default=str)


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_logfmt(value)}" for name, value in _fields(record).items())


def _logfmt(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
