# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads whose file, server or disk fails on the way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import services


def arriving(server: services.OllamaServer) -> Path:
    """Wait until a large part of an upload has arrived, and return the path of its file."""
    deadline = time.monotonic() + 120
    while True:
        for path in (server.models_path / "blobs").glob("sha256-*"):
            if path.stat().st_size > 100_000_000:
                return path
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blobs(server: services.OllamaServer) -> list[str]:
    return [path.name for path in (server.models_path / "blobs").glob("*")]


def assert_nothing_half_done_stays(server: services.OllamaServer) -> None:
    """The server takes some time to notice a broken connection, and to remove a large file."""
    deadline = time.monotonic() + 60
    while blobs(server):
        assert time.monotonic() < deadline, blobs(server)
        time.sleep(0.05)


def test_upload_of_a_file_that_shrinks_fails(start: Any, empty_server: services.OllamaServer, large_file: Path) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file))
    arriving(empty_server)
    os.truncate(large_file, 1000)
    result = module.result()
    assert result["failed"] and result["error_code"] == "upload_source", result
    assert f"The file {large_file} cannot be sent: it ended after" in result["msg"]
    assert_nothing_half_done_stays(empty_server)


def test_upload_of_a_file_that_grows_fails(start: Any, empty_server: services.OllamaServer, large_file: Path) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file))
    arriving(empty_server)
    size = large_file.stat().st_size
    with large_file.open("ab") as file:
        file.write(b"more")
    result = module.result()
    assert result["failed"] and f"longer than the {size} bytes announced" in result["msg"], result
    assert_nothing_half_done_stays(empty_server)


def test_upload_of_a_file_that_changes_fails(start: Any, empty_server: services.OllamaServer, large_file: Path) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file))
    arriving(empty_server)
    with large_file.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"changed")
    result = module.result()
    assert result["failed"] and result["error_code"] == "upload_source", result
    assert "changed while it was uploaded" in result["msg"]


def test_upload_to_a_server_that_restarts_is_repeated(
    start: Any, empty_server: services.OllamaServer, large_file: Path
) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file), retries=10)
    arriving(empty_server)
    empty_server.kill()
    empty_server.start()
    result = module.result()
    assert result["changed"] is True, result
    assert start("ollama_blob", host=empty_server.url, path=str(large_file)).result()["changed"] is False


def test_upload_to_a_server_that_stays_down_fails(
    start: Any, empty_server: services.OllamaServer, large_file: Path
) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file))
    arriving(empty_server)
    empty_server.kill()
    result = module.result()
    assert result["failed"] and result["error_code"] in ("ollama_unreachable", "connection_lost"), result


def test_upload_to_a_server_that_hangs_times_out(
    start: Any, empty_server: services.OllamaServer, large_file: Path
) -> None:
    module = start("ollama_blob", host=empty_server.url, path=str(large_file), timeout=2, retries=0)
    arriving(empty_server)
    assert empty_server.process is not None
    os.kill(empty_server.process.pid, 19)  # SIGSTOP
    try:
        result = module.result()
    finally:
        os.kill(empty_server.process.pid, 18)  # SIGCONT
    assert result["failed"] and result["error_code"] == "ollama_timeout", result
    assert "sent nothing for 2 seconds" in result["msg"]


def test_upload_onto_a_full_disk_fails_and_leaves_no_blob(start: Any, small_disk: Path, large_file: Path) -> None:
    os.truncate(large_file, 100_000_000)
    with services.ollama_server(small_disk / "models") as server:
        result = start("ollama_blob", host=server.url, path=str(large_file)).result()
        assert result["failed"] and "no space left on device" in result["msg"], result
        assert "Free space" in result["msg"]
        assert blobs(server) == []
