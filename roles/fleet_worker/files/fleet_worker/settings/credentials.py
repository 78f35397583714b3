# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets, which systemd puts into a directory that only this service can read."""

from __future__ import annotations

import os
from pathlib import Path

from .._ollama.errors import CollectionError
from .._ollama.header_fields import check_header


class CredentialError(CollectionError):
    """A credential is missing or cannot be read."""

    code = "credential"


def path_of(name: str) -> Path:
    """Return the file of a credential.

    :raises CredentialError: if the unit has no credentials, or not this one.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory or "/nonexistent") / name
    if directory is None or not path.is_file():
        raise CredentialError(
            f"The credential {name} is not there",
            remedy=f"Start the worker as its unit, with LoadCredential={name}:/path/of/the/secret"
            + ("" if directory else " (CREDENTIALS_DIRECTORY is not set)"),
            name=name,
        )
    return path


def read(name: str) -> str:
    """Return a secret, without the line break that an editor leaves at its end.

    :raises CredentialError: if it is missing or cannot be read.
    """
    path = path_of(name)
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"The credential {name} cannot be read: {error}", name=name) from error


def read_headers(name: str) -> dict[str, str]:
    """Return the headers that a credential holds, one ``Name: value`` a line.

    :raises CredentialError: if it is missing or cannot be read.
    :raises InvalidServerError: if a header cannot be sent. The message does not show the value.
    """
    found: dict[str, str] = {}
    for line in filter(None, read(name).splitlines()):
        field, colon, value = line.partition(":")
        if not colon:
            raise CredentialError(
                f"The credential {name} has a line without a colon",
                remedy="Write one header a line, as Name: value",
                name=name,
            )
        found[field.strip()] = value.strip()
    for field, value in found.items():
        check_header(field, value)
    return found
