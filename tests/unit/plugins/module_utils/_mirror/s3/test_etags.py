# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ETags that show what an object has, and ETags that show nothing."""

from __future__ import annotations

import hashlib
import os
import random

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3 import etags

MIB = 1024 * 1024
CONTENT = random.Random(17).randbytes(17 * MIB + 3)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False)


def parted(size):
    parts = [md5(CONTENT[start : start + size]).digest() for start in range(0, len(CONTENT), size)]
    return f'"{md5(b"".join(parts)).hexdigest()}-{len(parts)}"'


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory):
    path = tmp_path_factory.mktemp("etags") / "file"
    path.write_bytes(CONTENT)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize(
    "etag, shows",
    [
        (md5(CONTENT).hexdigest(), True),
        (f'"{md5(CONTENT).hexdigest().upper()}"', True),
        (parted(16 * MIB), True),
        (parted(8 * MIB), True),
        (parted(5 * MIB), True),
        (parted(7 * MIB + 1), True),
        (parted(6 * MIB), False),
        ('"' + "0" * 32 + '"', False),
        ('"' + "0" * 32 + '-99999"', False),
        ('W/"x"', False),
        ("", False),
    ],
)
def test_is_of_file_only_an_etag_of_md5s_counts(descriptor, etag, shows):
    assert etags.is_of_file(etag, descriptor, len(CONTENT), DIGEST, (7 * MIB + 1,)) is shows


def test_is_of_file_damaged_file_is_not_compared(descriptor):
    etag = md5(CONTENT).hexdigest()
    assert not etags.is_of_file(etag, descriptor, len(CONTENT), "sha256:" + "0" * 64)


def test_is_of_file_file_that_became_shorter_shows_nothing(descriptor):
    assert not etags.is_of_file(md5(CONTENT).hexdigest(), descriptor, len(CONTENT) + 1, DIGEST)


def test_md5_of_parts_gives_the_etag_that_servers_make():
    size = 8 * MIB
    parts = {
        number: f'"{md5(CONTENT[start : start + size]).hexdigest()}"'
        for number, start in enumerate(range(0, len(CONTENT), size), 1)
    }
    assert f'"{etags.md5_of_parts(parts)}"' == parted(size)
    assert etags.md5_of_parts({1: "x"}) == ""
