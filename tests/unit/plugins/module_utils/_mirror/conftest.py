# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the mirror share."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import ObjectMissingError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.layout import Layout
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror, ObjectState
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_list import Entry, ObjectList, Page
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

MOMENT = datetime(2026, 11, 25, 10, 30, 59, tzinfo=timezone.utc)


class MemoryStream:
    """The bytes of one answer."""

    def __init__(self, content):
        self.content = content

    def readinto(self, view):
        count = min(len(view), len(self.content))
        view[:count] = self.content[:count]
        self.content = self.content[count:]
        return count

    def close(self):
        pass


class MemoryMirror(Mirror):
    """A mirror whose objects are in memory: the requests are answered, all the rest is the product's."""

    def __init__(self):
        self.settings = S3Settings("models")
        self.layout = Layout.below(self.settings.prefix)
        self.objects = {}

    def put(self, name, *contents):
        """Put a model of some layers into the mirror; return its manifest."""
        layers = [{"mediaType": "x", "digest": digest_of(content), "size": len(content)} for content in contents]
        raw = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
        self.objects[self.layout.manifest_key(ModelName.parse(name))] = raw
        self.objects.update((self.layout.blob_key(digest_of(content)), content) for content in contents)
        return raw

    def read(self, key, limit):
        if key not in self.objects:
            raise ObjectMissingError(f"{key} does not exist", s3_code="NoSuchKey")
        return self.objects[key][:limit]

    def state(self, key):
        content = self.objects.get(key)
        return None if content is None else ObjectState(key, len(content), '"e"', MOMENT, digest_of(content))

    find = state

    def entries(self, prefix):
        found = [key for key in sorted(self.objects) if key.startswith(prefix)]
        page = Page(tuple(Entry(key, len(self.objects[key]), '"e"', MOMENT) for key in found), truncated=False)
        return ObjectList(prefix, lambda token, after: page, "memory", prefix)

    def open(self, key, start, stop, size, etag):
        return MemoryStream(self.objects[key][start:stop])

    def write(self, key, content, digest):
        self.objects[key] = content

    def remove(self, key):
        self.objects.pop(key, None)


@pytest.fixture
def memory_mirror():
    """An empty mirror in memory."""
    return MemoryMirror()
