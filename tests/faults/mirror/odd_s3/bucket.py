# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the scripted server: the objects of one bucket, and unfinished multipart uploads."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

_FIRST = datetime(2026, 11, 28, 7, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Stored:
    """One object.

    :param metadata: by their names in lower case, without ``x-amz-meta-``.
    """

    content: bytes
    metadata: Mapping[str, str]
    modified: datetime

    @property
    def etag(self) -> str:
        """The ETag with its quotes, as S3 computes it for an object that was written as a whole."""
        return f'"{hashlib.md5(self.content).hexdigest()}"'  # noqa: S324 - it is what S3 does


@dataclass
class Upload:
    """A multipart upload."""

    key: str
    metadata: Mapping[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class Bucket:
    """The objects of one bucket."""

    def __init__(self, name: str = "models") -> None:
        self.name = name
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self._count = itertools.count(1)

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> Stored:
        """Write an object."""
        stored = Stored(content, dict(metadata), _FIRST + timedelta(seconds=next(self._count)))
        self.objects[key] = stored
        return stored

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin a multipart upload, and return its id."""
        identity = f"upload-{next(self._count)}"
        self.uploads[identity] = Upload(key, dict(metadata))
        return identity

    def complete(self, identity: str) -> Stored:
        """Complete a multipart upload."""
        upload = self.uploads.pop(identity)
        content = b"".join(upload.parts[number] for number in sorted(upload.parts))
        return self.put(upload.key, content, upload.metadata)

    def contents(self) -> dict[str, bytes]:
        """Return the content of each object by its key."""
        return {key: stored.content for key, stored in self.objects.items()}
