# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The error for bytes that are not a valid HTTP/1 response."""

from __future__ import annotations


class HttpError(Exception):
    """The bytes are not an HTTP/1 response, or the end of the response is not certain.

    The message calls the response "it": "it has content-length more than once".
    """
