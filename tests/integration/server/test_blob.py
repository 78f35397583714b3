# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import services


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(2_000_000))
    return path


def digest_of(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.every_version
def test_blob_is_uploaded_once(module: Any, any_server: services.OllamaServer, file: Path) -> None:
    blob = any_server.models_path / "blobs" / digest_of(file).replace(":", "-")
    there = {"digest": digest_of(file), "size": 2_000_000}
    options = {"host": any_server.url, "path": str(file), "digest": digest_of(file)}

    predicted = module("ollama_blob", check=True, **options)
    assert predicted["changed"] is True and not blob.exists()
    assert predicted["diff"] == {"before": {}, "after": there}

    first = module("ollama_blob", **options)
    assert first["changed"] is True and blob.read_bytes() == file.read_bytes()
    assert {key: first[key] for key in there} == there
    assert first["diff"] == predicted["diff"]

    second = module("ollama_blob", **options)
    assert second["changed"] is False
    assert second["diff"] == {"before": there, "after": there}
    assert module("ollama_blob", check=True, **options)["changed"] is False


def test_blob_with_another_digest_fails(module: Any, ollama: services.OllamaServer, file: Path) -> None:
    wrong = "sha256:" + "0" * 64
    result = module("ollama_blob", host=ollama.url, path=str(file), digest=wrong)
    assert result["failed"] and result["error_code"] == "digest_mismatch"
    assert wrong in result["msg"] and digest_of(file) in result["msg"]
    assert (result["digest"], result["expected"]) == (digest_of(file), wrong)


def test_blob_with_an_invalid_digest_fails(module: Any, ollama: services.OllamaServer, file: Path) -> None:
    result = module("ollama_blob", host=ollama.url, path=str(file), digest="md5:x")
    assert result["failed"] and result["error_code"] == "invalid_digest"


def test_blob_of_a_missing_file_fails(module: Any, ollama: services.OllamaServer, tmp_path: Path) -> None:
    result = module("ollama_blob", host=ollama.url, path=str(tmp_path / "gone"))
    assert result["failed"] and result["error_code"] == "upload_source"
    assert f"The file {tmp_path / 'gone'} cannot be sent: No such file or directory." in result["msg"]


def test_blob_of_an_empty_file_is_uploaded_once(module: Any, any_server: services.OllamaServer, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for changed in (True, False):
        assert module("ollama_blob", host=any_server.url, path=str(tmp_path / "empty"))["changed"] is changed
