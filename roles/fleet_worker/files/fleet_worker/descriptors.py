# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File descriptors and memory: what is said when this process, or the machine, has none left.

Without a word of its own such an error looks like one of whoever was to be connected to, and people look there.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Optional

#: Errors of the system that concern this process or the machine, and not the other side of a connection.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def exhaustion(error: BaseException) -> str:
    """Return a sentence when an error, or one of its causes, is a lack of descriptors or memory; else an empty one."""
    seen: set[int] = set()
    current: Optional[BaseException] = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in EXHAUSTED:
            if current.errno == errno.EMFILE:
                limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                return f"this process has used all its {limit} file descriptors (raise LimitNOFILE= of its unit)"
            return f"this machine is out of a resource: {os.strerror(current.errno)}"
        current = current.__cause__ or current.__context__
    return ""
