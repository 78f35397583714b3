# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The base of all typed errors of the shared packages.

The message is for the person who reads the failed task: it names the failure, the thing and the remedy. The details
are for a playbook that reacts to the failure.
"""

from __future__ import annotations

import sys
from typing import ClassVar, Union

Detail = Union[str, int, float, bool, None]


class CollectionError(Exception):
    """An error with a stable code, a remedy and structured details.

    :param message: the failure and the thing that failed; a sentence without its final full stop.
    :param remedy: a sentence without its final full stop, or empty.
    :param details: JSON scalars, such as ``name``, ``digest``, ``status`` or ``path``, for the module's result.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, remedy: str = "", **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details: dict[str, Detail] = details
        #: The changes made before the failure, in the form of a module's result; set by the code that made them.
        self.result: dict[str, object] | None = None

    def __str__(self) -> str:
        sentences = [part.strip().rstrip(".") for part in (self.message, self.remedy) if part.strip()]
        return "".join(sentence + ". " for sentence in sentences).rstrip()


class MissingDependencyError(CollectionError):
    """A third-party Python package is not installed for the interpreter that runs the code."""

    code = "missing_dependency"

    def __init__(self, package: str, reason: str) -> None:
        """:param package: its name on PyPI. :param reason: completes "needed to", as in "talk to the S3 mirror"."""
        super().__init__(
            f"The Python package {package} is not installed for {sys.executable}, and it is needed to {reason}",
            remedy=f"Install it for this interpreter, as python3-{package} of the distribution or with pip",
            package=package,
        )


class InvalidNameError(CollectionError):
    """A text is not a model name by Ollama's grammar."""

    code = "invalid_name"


class InvalidDigestError(CollectionError):
    """A text is not a SHA-256 digest as Ollama writes it."""

    code = "invalid_digest"
