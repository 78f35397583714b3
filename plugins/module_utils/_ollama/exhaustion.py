# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Resource limits of this machine that any call may exceed: open files, threads, memory."""

from __future__ import annotations

import errno
from typing import Optional

from .errors import CollectionError

#: Nested causes to examine.
_DEPTH = 10


class ExhaustedError(CollectionError):
    """The process reached a resource limit."""

    code = "machine_limit"


def exhausted(error: Optional[BaseException]) -> Optional[ExhaustedError]:
    """Return the typed error if an error, or one of its causes, is a resource limit; else ``None``."""
    for _level in range(_DEPTH):
        if error is None:
            return None
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return ExhaustedError(
                "This process may not open more files and connections",
                remedy="Raise the limit of open files (ulimit -n, LimitNOFILE=), or set a lower concurrency",
            )
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return ExhaustedError(
                "There is no memory left for this process",
                remedy="Free some memory or raise the limit (ulimit -v, MemoryMax=), or set a lower concurrency",
            )
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return ExhaustedError(
                "This process may not start more threads",
                remedy="Raise the limit of processes (ulimit -u, TasksMax=), or set a lower concurrency",
            )
        error = error.__cause__ or error.__context__
    return None
