# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.base64_text import read_base64, write_base64


@pytest.mark.parametrize("content", [b"", b"a", b"\xff\xfe", b"abc"])
def test_read_base64_returns_the_written_content(content: bytes) -> None:
    assert read_base64(write_base64(content)) == content
    assert read_base64(write_base64(content).encode()) == content


@pytest.mark.parametrize("value", [None, 1, ["YQ=="], "YQ", "YQ=", "YQ==\n", "Y Q==", "-_-_", "é===", b"\xff"])
def test_read_base64_of_anything_else_is_none(value: Any) -> None:
    assert read_base64(value) is None
