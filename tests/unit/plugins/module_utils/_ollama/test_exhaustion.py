# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.exhaustion import exhausted


@pytest.mark.parametrize(
    "error, word",
    [
        (OSError(errno.EMFILE, "Too many open files"), "files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
    ],
)
def test_a_limit_is_named_however_it_is_wrapped(error, word):
    wrapped = ValueError("other")
    wrapped.__cause__ = KeyError("another")
    wrapped.__cause__.__context__ = error
    for found in (exhausted(error), exhausted(wrapped)):
        assert word in found.message
        assert found.remedy


def test_other_errors_are_no_limit():
    looped = ValueError("x")
    looped.__cause__ = KeyError("y")
    looped.__cause__.__context__ = looped
    for error in (None, OSError(errno.EACCES, "no"), RuntimeError("x"), looped):
        assert exhausted(error) is None
