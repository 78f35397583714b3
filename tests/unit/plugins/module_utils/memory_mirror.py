# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror and a server in memory: the product's own classes over an object store that uses no network."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    ObjectChangedError,
    ObjectMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_list import Entry, ListPage
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.range_response import RangeResponse
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

MOMENT = datetime(2026, 11, 25, 10, 30, 59, tzinfo=timezone.utc)
DATE = "Wed, 25 Nov 2026 10:30:59 GMT"


class MemoryBody:
    """The body of one answer."""

    def __init__(self, content):
        self.content = content

    def readinto(self, view):
        count = min(len(view), len(self.content))
        view[:count] = self.content[:count]
        self.content = self.content[count:]
        return count

    def close(self):
        pass


class MemoryObjects:
    """An object store in memory: it answers as a good S3 server does, and never uses a network.

    :ivar content: the bytes of each object by its key.
    :ivar digests: the digest in each object's metadata; :meth:`put` records it.
    :ivar requests: the name of each method that was called, and the key or prefix.
    """

    def __init__(self, settings):
        self.settings = settings
        self.content = {}
        self.digests = {}
        self.requests = []

    def etag(self, key):
        return f'"{hashlib.md5(self.content[key], usedforsecurity=False).hexdigest()}"'

    def get(self, key, limit):
        self.requests.append(("get", key))
        return self._existing(key)[:limit]

    def head(self, key):
        self.requests.append(("head", key))
        headers = {"content-length": str(len(self._existing(key))), "etag": self.etag(key), "last-modified": DATE}
        # Whatever a test puts into `content` itself counts as published by this collection.
        headers["x-amz-meta-sha256"] = self.digests.get(key, digest_of(self.content[key])).partition(":")[2]
        return headers

    first_byte = head

    def range(self, key, asked):
        self.requests.append(("range", key))
        first, last = (int(number) for number in asked["Range"].partition("=")[2].split("-"))
        content = self._existing(key)
        if asked.get("If-Match", self.etag(key)) != self.etag(key):
            raise ObjectChangedError(f"{self.settings.url(key)} has another ETag", status=412)
        headers = {"content-range": f"bytes {first}-{last}/{len(content)}", "content-length": str(last - first + 1)}
        return RangeResponse(MemoryBody(content[first : last + 1]), 206, headers)

    def page(self, prefix, token, after):
        self.requests.append(("page", prefix))
        found = [key for key in sorted(self.content) if key.startswith(prefix)]
        return ListPage(
            tuple(Entry(key, len(self.content[key]), self.etag(key), MOMENT) for key in found), truncated=False
        )

    def put(self, key, content, digest):
        self.requests.append(("put", key))
        self.content[key] = bytes(content)
        self.digests[key] = digest
        return True

    def delete(self, key):
        self.requests.append(("delete", key))
        self.content.pop(key, None)

    def _existing(self, key):
        if key not in self.content:
            raise ObjectMissingError(f"{self.settings.url(key)} does not exist", s3_code="NoSuchKey")
        return self.content[key]


class MemoryMirror(Mirror):
    """The product's mirror over an object store in memory.

    :ivar store: that object store.
    :ivar objects: its content by key; tests may change it.
    """

    def __init__(self):
        settings = S3Settings("models")
        self.store = MemoryObjects(settings)
        super().__init__(settings, objects=self.store)
        self.objects = self.store.content

    def put(self, name, *contents):
        """Put a model of some layers into the mirror; return its manifest."""
        layers = [{"mediaType": "x", "digest": digest_of(content), "size": len(content)} for content in contents]
        raw = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
        self.objects[self.layout.manifest_key(ModelName.parse(name))] = raw
        self.objects.update((self.layout.blob_key(digest_of(content)), content) for content in contents)
        return raw


class MemoryServer:
    """A client of an Ollama that has a directory as its store, and takes uploads without a network.

    :ivar errors: raised by the next uploads, one each.
    :ivar hidden: digests of manifests that it lists in place of the real ones, by the short names of models.
    """

    url = "http://ollama.lab:11434"

    def __init__(self, path):
        self.path = path
        self.errors = []
        self.hidden = {}

    def file(self, digest):
        return self.path / "blobs" / digest.replace(":", "-")

    def tags(self):
        with Store(StoreSettings(str(self.path))) as store:
            found = {name.short: digest_of(store.manifest(name)) for name in store.names()}
        found.update(self.hidden)
        return {"models": [{"name": name, "digest": digest} for name, digest in found.items()]}

    def has_blob(self, digest):
        return self.file(digest).exists()

    def push_blob(self, digest, source, *, size, call):
        if self.errors:
            raise self.errors.pop(0)
        if self.has_blob(digest):
            return False
        content = b"".join(bytes(piece) for piece in source)
        self.file(digest).write_bytes(content)
        return True
