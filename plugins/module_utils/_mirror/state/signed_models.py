# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Records of when the models of a store were signed, so that an import can refuse an older model.

The record of a removed model stays. A user who can write the records can also write the store, and so gains nothing by
changing them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from ..._ollama.names import ModelName
from ..._ollama.safe_fs import Directory, Ownership
from .record_file import read_records, write_records

_FILE = "signed.json"
_KIND = "models"

#: The digest of the manifest, and the time of the signature in seconds since 1970.
SignedModel = tuple[str, float]


def read_signed(workspace: Optional[Directory]) -> dict[str, SignedModel]:
    """Return the records of models that were imported with a signature, by the keys of their names.

    :param workspace: the directory with the records; ``None`` if there is none yet.
    """
    try:
        records = read_records(workspace, _FILE, _KIND).items()
        return {key: (str(digest), float(moment)) for key, (digest, moment) in records}
    except (ValueError, TypeError, OverflowError):
        return {}


def write_signed(
    workspace: Directory, models: Mapping[ModelName, SignedModel], ownership: Ownership, *, allow_rollback: bool
) -> None:
    """Add models to the records. Records that other processes wrote meanwhile stay.

    :param allow_rollback: whether an earlier signature may replace a later one. Otherwise the later time stays, also
        for the same model: somebody who can write to the mirror can put back every signature that it ever had.
    """
    known = read_signed(workspace)
    added = {
        name.key: signed
        for name, signed in models.items()
        if allow_rollback or signed[1] >= known.get(name.key, signed)[1]
    }
    if any(known.get(key) != signed for key, signed in added.items()):
        write_records(workspace, _FILE, _KIND, {**known, **added}, ownership)
