# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Images of a task, as Ollama takes them."""

from __future__ import annotations

import base64

from .._ollama.api_errors import UploadSourceError


def encoded_image(path: str) -> str:
    """Return the content of an image file in base64.

    :raises UploadSourceError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode("ascii")
    except OSError as error:
        raise UploadSourceError(
            f"The image {path} cannot be read: {error.strerror}",
            remedy="Name a file on the machine that runs the task",
            path=path,
        ) from error
