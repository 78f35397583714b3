# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The blobs that the manifests of a store or a mirror name; only unnamed blobs may be removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from .errors import CollectionError
from .manifests import Manifest, ManifestError
from .names import ModelName


@dataclass
class References:
    """The models that name each blob.

    :ivar users: the models that name a blob, by its digest.
    :ivar names: all found models, including those with an unreadable manifest.
    :ivar doubts: complete messages, each a reason why there may be unknown manifests. With a doubt every blob counts as
        named.
    """

    users: dict[str, list[ModelName]] = field(default_factory=dict)
    names: set[ModelName] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)

    def add(
        self,
        name: ModelName,
        read: Callable[[], Optional[bytes]],
        where: str,
        *,
        fatal: tuple[type[CollectionError], ...] = (),
    ) -> bool:
        """Add the manifest of a model; return whether it exists.

        :param read: returns the bytes of the manifest; ``None`` if it was removed after the listing.
        :param where: the path or URL of the manifest.
        :param fatal: errors of ``read`` to raise; any other error becomes a doubt.
        """
        try:
            raw = read()
            if raw is None:
                return False
            blobs = Manifest.parse(raw).blobs
        except fatal:
            raise
        except ManifestError as error:
            self.doubts.append(f"{where}: {error.message}. Remove this manifest, or put its model there again")
            return True
        except CollectionError as error:
            self.doubts.append(str(error) if where in error.message else f"{where}: {error}")
            return True
        for blob in blobs:
            self.users.setdefault(blob.digest, []).append(name)
        return True
