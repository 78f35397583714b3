# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for secrets finds each, as it is and in Base64, and a search of nothing fails."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest
import secret_search

SECRET = {"password": "Xy7secretPassw0rdZ"}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def searching(content: bytes, *options: str, needles: dict[str, str] | None = None) -> int:
        (tmp_path / "needles").write_text(json.dumps(SECRET if needles is None else needles))
        (tmp_path / "log").write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["secret_search", *options, str(tmp_path / "needles"), str(tmp_path / "log")])
        return secret_search.main()

    return searching


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize("after", [b"", b"z", b"zz"])
def test_found_in_base64_wherever_the_text_begins(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + b"Xy7secretPassw0rdZ" + after)
    assert secret_search.found_in(b'"content": "' + encoded + b'"', SECRET) == {"password"}


def test_search_fails_where_a_secret_is_or_nothing_was_searched(search) -> None:
    assert search(b"nothing of it") == 0
    assert search(b"password=Xy7secretPassw0rdZ") == 1
    assert search(b"") == 1


def test_search_that_expects_all_fails_without_one(search) -> None:
    assert search(b"Xy7secretPassw0rdZ", "--expect-all") == 0
    assert search(b"", "--expect-all") == 1


def test_search_for_a_short_text_is_refused(search) -> None:
    with pytest.raises(ValueError, match="short"):
        search(b"x", needles={"short": "1234567"})
