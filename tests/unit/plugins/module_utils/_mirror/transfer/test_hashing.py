# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of files."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.hashing import digest_of_file
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1])
def test_digest_of_file_any_size_is_that_of_its_content(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        os.lseek(descriptor, size // 2, os.SEEK_SET)  # the whole file counts, wherever the descriptor stands
        assert digest_of_file(descriptor) == digest_of(content)
        assert digest_of_file(descriptor) == digest_of(content)
    finally:
        os.close(descriptor)
