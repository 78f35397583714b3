# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A store: the models directory of an Ollama, with ``blobs/`` and ``manifests/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union


@dataclass(frozen=True)
class StoreSettings:
    """Where a store is, and to whom belongs what is created in it.

    ``None`` means as the models directory, or its nearest parent that exists, has it.
    """

    path: str
    owner: Optional[str] = None
    group: Optional[str] = None
    mode: Union[str, int, None] = None
