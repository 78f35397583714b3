# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The layout of a mirror: the layout of a models directory, below a prefix of the bucket.

lex-ollama reads this layout, and a copy of a models directory has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional
from urllib.parse import quote

from ..._ollama.digests import blob_file_name
from ..._ollama.errors import InvalidNameError
from ..._ollama.names import ModelName
from ..._ollama.text import printable
from ..errors import MirrorSettingsError


@dataclass(frozen=True)
class Layout:
    """The keys of one mirror.

    :param root: the beginning of all keys: empty, or ending in a slash.
    """

    root: str

    @classmethod
    def below(cls, prefix: str) -> Layout:
        """Return the layout below a prefix.

        :param prefix: as a person writes it. Slashes at both ends are ignored, and several slashes in a row count as
            one, because a server that stores objects as files would list nothing under a prefix with two in a row.
        :raises MirrorSettingsError: for a prefix with a part ``.`` or ``..``, or with an unprintable character.
        """
        parts = [part for part in prefix.split("/") if part]
        refuse_unsafe_parts("prefix", parts)
        return cls("/".join((*parts, "")))

    @property
    def manifests(self) -> str:
        """The beginning of the keys of all manifests."""
        return f"{self.root}manifests/"

    @property
    def blobs(self) -> str:
        """The beginning of the keys of all blobs."""
        return f"{self.root}blobs/"

    def manifest_key(self, name: ModelName) -> str:
        """Return the key of a model's manifest."""
        return self.manifests + "/".join(name.manifest_parts)

    def blob_key(self, digest: str) -> str:
        """Return the key of a blob."""
        return self.blobs + blob_file_name(digest)

    def pieces_key(self, digest: str) -> str:
        """Return the key of the list of a blob's pieces."""
        return f"{self.root}pieces/{blob_file_name(digest)}"

    def signature_key(self, name: ModelName, digest: str) -> str:
        """Return the key of the signature of a model.

        :param digest: the digest of the signed manifest. Each manifest of a model has its own signature.
        """
        return f"{self.signatures_of(name)}{blob_file_name(digest)}.json"

    def signatures_of(self, name: ModelName) -> str:
        """Return the beginning of the keys of all signatures of a model."""
        return f"{self.root}signatures/" + "/".join((*name.manifest_parts, ""))

    def name_of(self, key: str) -> Optional[ModelName]:
        """Return the model of a manifest's key; ``None`` for any other key."""
        parts = key[len(self.manifests) :].split("/")
        if not key.startswith(self.manifests) or len(parts) != 4:
            return None
        try:
            return ModelName(*parts)
        except InvalidNameError:
            return None

    def may_be_manifest(self, key: str) -> bool:
        """Return whether a key that names no model may be the key of a manifest, by its place or in an odd encoding."""
        parts = key[len(self.manifests) :].split("/")
        return key.startswith(self.manifests) and (len(parts) == 4 or "%" in key) and bool(parts[-1])


def refuse_unsafe_parts(option: str, parts: Sequence[str]) -> None:
    """Refuse a key or a prefix that URLs and file systems read as another place.

    :param option: the name of the setting, for the message.
    :raises MirrorSettingsError: for the parts ``.`` and ``..``, and for characters that are not printable.
    """
    if any(part in (".", "..") or not part.isprintable() for part in parts):
        raise MirrorSettingsError(
            f"{option} is {printable('/'.join(parts))!r}, which is not a valid key: it contains a part . or .., or an"
            " unprintable character",
            remedy=f"Correct {option}; it may end in a line feed from a file or a lookup",
        )


def url_path(key: str) -> str:
    """Return a key in the form that the SDK writes into a URL."""
    return quote(key, safe="/~")
