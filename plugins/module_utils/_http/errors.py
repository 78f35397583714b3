# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The error for bytes that are not a valid HTTP/1 response."""

from __future__ import annotations


class HttpError(Exception):
    """The bytes are not an answer of HTTP/1, or one whose end is not certain.

    The message goes on after "the answer": "it has content-length more than once".
    """
