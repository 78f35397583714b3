# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Files of a store's workspace with what earlier runs have found: written whole or not at all, and read warily."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Optional

from ..._ollama.json_text import read_json
from ..._ollama.safe_fs import Directory, Ownership
from ..._ollama.store import TEMPORARY

#: Of the files. A file of another format is not read.
FORMAT = 1

#: Bytes. 100,000 blobs need 14 MB, and 50,000 models 8 MB.
_MAX_SIZE = 16 * 1024 * 1024


def read_records(workspace: Optional[Directory], file: str, kind: str) -> Mapping[str, Any]:
    """Return the records of a file by their keys; none of a file that is not as :func:`write_records` writes it.

    :param workspace: the directory with the file; ``None`` if there is none yet.
    :param kind: what the records are of, as the file says it.
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
    """Write the records of a file in place of those that it has."""
    temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
    content = json.dumps({"format": FORMAT, kind: dict(sorted(records.items()))}, separators=(",", ":"))
    workspace.write(temporary, content.encode(), ownership)
    workspace.move(temporary, workspace, file)
