# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as systemd hands them over."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet_worker._ollama.errors import CollectionError
from fleet_worker.settings.credentials import CredentialError, path_of, read, read_headers


def test_a_secret_is_read_without_the_line_break_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "password").write_text(" s3 cret \n")
    assert read("password") == " s3 cret "
    assert path_of("password") == tmp_path / "password"


@pytest.mark.parametrize("there", [True, False])
def test_a_missing_secret_is_named_with_the_remedy(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if there:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(CredentialError, match="LoadCredential=password:") as caught:
        read("password")
    assert ("CREDENTIALS_DIRECTORY is not set" in str(caught.value)) is not there


def test_a_secret_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "password").write_bytes(b"\xff")
    with pytest.raises(CredentialError, match="cannot be read"):
        read("password")


def test_headers_are_lines_of_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "h").write_text("Authorization: Bearer a:b\nX-Team: blue\n\n")
    assert read_headers("h") == {"Authorization": "Bearer a:b", "X-Team": "blue"}


@pytest.mark.parametrize("text", ["no colon secret", "A B: secret", "A: secret\u20ac", "Host: a\nsecret"])
def test_headers_that_cannot_be_sent_are_refused_without_their_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "h").write_text(text)
    with pytest.raises(CollectionError) as caught:
        read_headers("h")
    assert "secret" not in str(caught.value)
