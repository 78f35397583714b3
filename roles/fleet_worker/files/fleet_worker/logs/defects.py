# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary that a defect of ours does not cross: it is logged once, with its traceback, and costs little."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

from .log import Log

T = TypeVar("T")

LOG = Log()


def contained(work: Callable[[], T], instead: Callable[[Exception], T], event: str = "defect", **fields: Any) -> T:
    """Return what a function returns. When the function raises, log that, and return the substitute.

    :param work: raises only when this worker has a defect.
    :param instead: makes the substitute of the exception.
    :param event: the word in the log.
    :param fields: of the line in the log.
    """
    try:
        return work()
    except Exception as error:
        LOG.exception(event, **fields)
        return instead(error)
