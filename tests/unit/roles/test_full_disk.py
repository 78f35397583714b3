# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role names a full disk, whatever words the program has for it."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOT_UNPACKED = "__ollama_server_not_unpacked"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this user cannot mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def told(evaluate: Any, stderr: str) -> str:
    known = {"__ollama_server_unpacked": {"rc": 2, "stderr": stderr}, "ollama_server_root": "/opt/o"}
    return str(evaluate("ollama_server", NOT_UNPACKED, **known))


@pytest.mark.parametrize("size", [1024 * 1024 + 4096, 1024 * 1024 + 6656, 8 * 1024 * 1024])
def test_full_disk_of_the_releases_is_named(evaluate: Any, tmp_path: Path, small_disk: Path, size: int) -> None:
    """Where the last block fits in part, tar says nothing of space."""
    (tmp_path / "ollama").write_bytes(bytes(size))
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(tmp_path / "ollama", "bin/ollama")
    command = ["tar", "--extract", f"--file={tmp_path}/archive.tar", f"--directory={small_disk}"]
    done = subprocess.run(command, env={"LC_ALL": "C"}, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    text = told(evaluate, done.stderr)
    assert "The disk of /opt/o/releases is full" in text, text
    assert "an archive that tar can read" not in text


@pytest.mark.parametrize("stderr", ["tar: bin/ollama: Wrote only 6656 of 10240 bytes", "tar: x: Disk quota exceeded"])
def test_message_of_tar_about_a_full_disk_is_understood(evaluate: Any, stderr: str) -> None:
    assert "is full: free space" in told(evaluate, stderr)


def test_archive_that_tar_cannot_read_is_not_called_a_full_disk(evaluate: Any) -> None:
    text = told(evaluate, "tar: This does not look like a tar archive")
    assert "an archive that tar can read" in text and "is full" not in text
