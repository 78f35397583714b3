# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Files in a store's workspace with the findings of earlier runs. Writes are atomic, and invalid files are ignored."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Optional

from ..._ollama.json_text import read_json
from ..._ollama.safe_fs import Directory, Ownership, persist
from ..._ollama.store import TEMPORARY

#: The format of the files. A file with another format is ignored.
FORMAT = 1

#: The largest file in bytes. 100,000 blobs need 14 MB, and 50,000 models 8 MB.
_MAX_SIZE = 16 * 1024 * 1024


def read_records(workspace: Optional[Directory], file: str, kind: str) -> Mapping[str, Any]:
    """Return the records of a file by their keys; empty if :func:`write_records` did not write the file.

    :param workspace: the directory with the file; ``None`` if there is none yet.
    :param kind: the name of the records in the file, such as ``blobs``.
    """
    raw = workspace.read(file, _MAX_SIZE) if workspace else None
    if not raw:
        return {}
    try:
        content = read_json(raw)
        records = content[kind] if content["format"] == FORMAT else {}
    except (ValueError, TypeError, KeyError):
        return {}
    return records if isinstance(records, dict) else {}


def write_records(workspace: Directory, file: str, kind: str, records: Mapping[str, Any], ownership: Ownership) -> None:
    """Replace the records of a file. The caller need not hold the lock of the store."""
    content = json.dumps({"format": FORMAT, kind: dict(sorted(records.items()))}, separators=(",", ":"))

    def write() -> None:
        temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
        workspace.write(temporary, content.encode(), ownership)
        workspace.move(temporary, workspace, file)

    persist(write)  # a process that holds the lock of the store removes the temporary files of others
