# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Plans: the changes to a store or a mirror, decided before anything is changed.

Check mode returns a plan, the diff shows it, and a run carries it out.
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
    """The change to one blob.

    :param size: in bytes.
    :param reason: why the blob is replaced, or kept although no model of the plan uses it; else empty.
    """

    digest: str
    size: int
    action: str
    reason: str = ""


@dataclass(frozen=True)
class ModelChange:
    """The change to one manifest.

    :param before: the digest of the present manifest, or ``None``.
    :param after: the manifest that will be present, or ``None``.
    """

    name: ModelName
    before: Optional[str]
    after: Optional[Manifest]

    @property
    def action(self) -> str:
        """The change: add, replace, keep or remove."""
        if self.after is None:
            return REMOVE if self.before else KEEP
        if self.before is None:
            return ADD
        return KEEP if self.before == self.after.digest else REPLACE


@dataclass(frozen=True)
class AccessChange:
    """The change to owner, group and mode of one file. ``before`` and ``after`` describe them as text."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """The changes of a run, with each blob and each model once.

    :param signed: the models whose signatures are written.
    :param warnings: messages to the user on problems that the plan does not solve.
    :param pieces: digests of the blobs whose lists of pieces are written to the mirror.
    :param listed: the models that were present when the plan decided which blobs to remove.
    """

    models: tuple[ModelChange, ...] = ()
    blobs: tuple[BlobChange, ...] = ()
    access: tuple[AccessChange, ...] = ()
    signed: tuple[ModelName, ...] = ()
    warnings: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    listed: frozenset[ModelName] = frozenset()

    @property
    def changed(self) -> bool:
        """Whether the plan changes anything."""
        actions = {model.action for model in self.models} | {blob.action for blob in self.blobs}
        return bool(self.access or self.pieces or self.signed) or bool(actions - {KEEP})

    def of(self, *actions: str) -> list[BlobChange]:
        """Return the blobs with one of these actions."""
        return [blob for blob in self.blobs if blob.action in actions]

    @property
    def bytes_to_transfer(self) -> int:
        """Bytes of the blobs that are added or replaced."""
        return sum(blob.size for blob in self.of(ADD, REPLACE))

    @property
    def bytes_freed(self) -> int:
        """Bytes of the blobs that are removed."""
        return sum(blob.size for blob in self.of(REMOVE))
