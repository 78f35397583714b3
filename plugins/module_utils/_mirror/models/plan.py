# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Plans: what will be done to a store or a mirror, decided before anything is done.

The same plan is what check mode returns, what the diff shows and what is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..._ollama.manifests import Manifest
from ..._ollama.names import ModelName

ADD = "add"
REPLACE = "replace"
KEEP = "keep"
REMOVE = "remove"


@dataclass(frozen=True)
class BlobChange:
    """What happens to one blob.

    :param size: in bytes.
    :param reason: why it is replaced, or kept although nothing planned for uses it; else empty.
    """

    digest: str
    size: int
    action: str
    reason: str = ""


@dataclass(frozen=True)
class ModelChange:
    """What happens to one manifest.

    :param before: the digest of what is there, or ``None``.
    :param after: what will be there, or ``None``.
    """

    name: ModelName
    before: Optional[str]
    after: Optional[Manifest]

    @property
    def action(self) -> str:
        """What becomes of the manifest."""
        if self.after is None:
            return REMOVE if self.before else KEEP
        if self.before is None:
            return ADD
        return KEEP if self.before == self.after.digest else REPLACE


@dataclass(frozen=True)
class AccessChange:
    """What happens to owner, group and mode of one file; ``before`` and ``after`` as people write them."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """All that will happen, each blob and each model once.

    :param warnings: what should be known although nothing can be done about it here.
    :param listed: the models that were there when it was decided which blobs go.
    """

    models: tuple[ModelChange, ...] = ()
    blobs: tuple[BlobChange, ...] = ()
    access: tuple[AccessChange, ...] = ()
    warnings: tuple[str, ...] = ()
    listed: frozenset[ModelName] = frozenset()

    @property
    def changed(self) -> bool:
        """Whether anything will be different afterwards."""
        actions = {model.action for model in self.models} | {blob.action for blob in self.blobs}
        return bool(self.access) or bool(actions - {KEEP})

    def of(self, *actions: str) -> list[BlobChange]:
        """Return the blobs to which one of these happens."""
        return [blob for blob in self.blobs if blob.action in actions]

    @property
    def bytes_to_transfer(self) -> int:
        """Bytes of the blobs that must come or go over the network."""
        return sum(blob.size for blob in self.of(ADD, REPLACE))

    @property
    def bytes_freed(self) -> int:
        """Bytes of the blobs that are removed."""
        return sum(blob.size for blob in self.of(REMOVE))
