# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log: one line for each event, as logfmt or JSON, on standard output.

The log never has prompts, answers or credentials. All text from outside is escaped and truncated, so that no text can
forge a line, colour a terminal or fill a disk.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from functools import lru_cache
from typing import Any, Union

from .._ollama.text import SHOWN, printable
from .writer import LogWriter

#: The most characters of long fields.
_LIMITS = {"event": 1000, "error": 1000, "reason": 1000, "remedy": 1000, "added": 1000, "removed": 1000}

#: The most lines of a traceback (the last ones), and the most characters of each.
_TRACEBACK_LINES = 60
_TRACEBACK_LINE = 500

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
        """Write an event with the traceback of the current exception."""
        self._logger.log(logging.ERROR, event, exc_info=sys.exc_info(), extra={"fields": fields})

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        self._logger.log(level, event, extra={"fields": fields})


def set_up(style: str, level: str) -> None:
    """Send the log to standard output.

    :param style: ``logfmt`` or ``json``.
    :param level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    # The lines do not show their place in the code or their thread, and finding these is half of the cost of a line
    # ("Optimization" in the documentation of logging).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Handler(sys.stdout.fileno(), _Json() if style == "json" else _Logfmt())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The worker itself logs a lost connection, once and with a remedy. Pika's lines below a warning contain whole
    # messages with prompts and answers.
    logging.getLogger("pika").setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)
    # urllib3 warns for each reopened connection.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {
        "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "event": record.getMessage(),
        **getattr(record, "fields", {}),
    }
    if record.name != "fleet_worker":
        fields["logger"] = record.name
    shown = {name: _shown(name, value) for name, value in fields.items() if value is not None}
    if record.exc_info:
        lines = logging.Formatter().formatException(record.exc_info).splitlines()[-_TRACEBACK_LINES:]
        shown["traceback"] = "\n".join(printable(line, _TRACEBACK_LINE) for line in lines)
    return shown


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return the first part of a time, which most lines share with the line before."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _shown(name: str, value: Any) -> Union[str, int, float]:
    """Return a value in the form of the log."""
    if isinstance(value, str) and len(value) <= SHOWN and value.isprintable():
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 64 else f"<a number of {value.bit_length()} bits>"
    return printable(value, _LIMITS.get(name, SHOWN))


class _Handler(logging.Handler):
    """Writes lines, and neither waits nor raises, because a request is more important than a line."""

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = LogWriter(descriptor, self._dropped)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - the log itself has failed
            line = self._line("log_line_lost", reason=type(error).__name__)
        self._writer.write(_encoded(line))

    def flush(self) -> None:
        """Wait some seconds until all lines are written. The module logging calls this method at the end."""
        self._writer.flush()

    def _dropped(self, number: int) -> bytes:
        return _encoded(self._line("log_lines_dropped", lines=number, reason="nobody has read them"))

    def _line(self, event: str, **fields: Any) -> str:
        record = logging.LogRecord("fleet_worker", logging.WARNING, "", 0, event, None, None)
        record.fields = fields
        return self.format(record)


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record))


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join([f"{name}={_logfmt(value)}" for name, value in _fields(record).items()])


def _logfmt(value: Union[str, int, float]) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
