# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Where things lie in a mirror: the layout of a models directory, below a prefix of the bucket.

It is the layout that lex-ollama reads, and that a copy of a models directory has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional
from urllib.parse import quote

from .._ollama.digests import blob_file_name
from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName


@dataclass(frozen=True)
class Layout:
    """The keys of one mirror.

    :param root: what all keys begin with: empty, or ending in a slash.
    """

    root: str

    @classmethod
    def below(cls, prefix: str) -> Layout:
        """:param prefix: as a person writes it, with or without slashes around it."""
        prefix = prefix.strip("/")
        return cls(prefix + "/" if prefix else "")

    @property
    def manifests(self) -> str:
        """What the keys of all manifests begin with."""
        return f"{self.root}manifests/"

    @property
    def blobs(self) -> str:
        """What the keys of all blobs begin with."""
        return f"{self.root}blobs/"

    def manifest_key(self, name: ModelName) -> str:
        """Return the key of a model's manifest."""
        return self.manifests + "/".join(name.manifest_parts)

    def blob_key(self, digest: str) -> str:
        """Return the key of a blob."""
        return self.blobs + blob_file_name(digest)

    def name_of(self, key: str) -> Optional[ModelName]:
        """Return whose manifest a key is; ``None`` when it is nobody's."""
        parts = key[len(self.manifests) :].split("/")
        if not key.startswith(self.manifests) or len(parts) != 4:
            return None
        try:
            return ModelName(*parts)
        except InvalidNameError:
            return None


def url_path(key: str) -> str:
    """Return a key as the SDK writes it into a URL."""
    return quote(key, safe="/~")
