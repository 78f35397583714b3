# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary for defects of this program: a defect is logged once with its traceback, and does little harm."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

from .log import Log

T = TypeVar("T")

LOG = Log()


def contained(work: Callable[[], T], instead: Callable[[Exception], T], event: str = "defect", **fields: Any) -> T:
    """Return the result of a function. If the function raises, log the exception, and return a substitute.

    :param work: the function, which raises only because of a defect.
    :param instead: returns the substitute for an exception.
    :param event: the event of the log line.
    :param fields: the fields of the log line.
    """
    try:
        return work()
    except Exception as error:
        LOG.exception(event, **fields)
        return instead(error)
