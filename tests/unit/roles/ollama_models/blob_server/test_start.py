# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service ends at its start for settings with which it would share nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blob_server.__main__ import EXIT_CONFIG, main


@pytest.mark.parametrize("pattern", ["a/b/c/d", "llama3:", ""])
def test_pattern_that_no_name_can_match_ends_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    """Each request would have got the status 500, and the neighbours would have read from the mirror."""
    secret, config = tmp_path / "secret", tmp_path / "config.json"
    secret.write_text("0123456789abcdef" * 2)
    given = {"listen": "127.0.0.1", "port": 0, "models_path": str(tmp_path), "models": ["*", pattern]}
    config.write_text(json.dumps({**given, "secret_file": str(secret), "max_uploads": 8}))
    assert main([str(config)]) == EXIT_CONFIG
    assert f"the pattern {pattern!r}" in capsys.readouterr().err
