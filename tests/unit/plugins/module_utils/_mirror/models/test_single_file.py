# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files: what is seen before anything is transferred."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.single_file import Fetch
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    NotPermittedError,
    Ownership,
    UnsafePathError,
)

CONTENT = b"x" * 1000
DIGEST = digest_of(CONTENT)


@pytest.fixture
def fetch(memory_mirror):
    """Return a download of one object to a path."""
    memory_mirror.objects["releases/a.bin"] = CONTENT
    return lambda path: Fetch(memory_mirror, "releases/a.bin", str(path), DIGEST)


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_directory_as_path_is_refused_in_the_plan(fetch, tmp_path, ending):
    with pytest.raises(UnsafePathError) as caught:
        fetch(f"{tmp_path}{ending}").plan()
    assert f"{tmp_path} is a directory" in caught.value.message
    assert str(tmp_path / "a.bin") in caught.value.remedy


def test_a_path_that_ends_in_a_slash_is_refused_though_nothing_is_there(fetch, tmp_path):
    with pytest.raises(UnsafePathError, match="must name the file"):
        fetch(f"{tmp_path}/new/").plan()


def test_the_root_directory_is_refused(fetch):
    with pytest.raises(UnsafePathError, match="is a directory"):
        fetch("/").plan()


def test_a_link_to_a_directory_is_refused(fetch, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(UnsafePathError, match="is a directory"):
        fetch(tmp_path / "link").plan()


def test_a_pipe_or_a_device_is_never_replaced(fetch, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePathError, match="not a regular file"):
        fetch(tmp_path / "pipe").plan()


def test_a_directory_that_may_not_be_written_to_is_seen_in_the_plan(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    with pytest.raises(NotPermittedError) as caught:
        fetch(tmp_path / "f").plan()
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize("recorded, remedy", [(None, "Correct checksum"), (DIGEST, "remove it from the bucket")])
def test_other_content_than_the_checksum_says_is_named_with_what_helps(
    fetch, tmp_path, memory_mirror, monkeypatch, recorded, remedy
):
    state = memory_mirror.state("releases/a.bin")._replace(digest=recorded)
    monkeypatch.setattr(memory_mirror, "find", lambda key: state)
    memory_mirror.objects["releases/a.bin"] = b"y" * len(CONTENT)
    download = fetch(tmp_path / "a.bin")
    with pytest.raises(WrongDigestError) as caught:
        download.apply(download.plan(), Ownership(None, None, 0o644, None))
    assert "s3://models/releases/a.bin" in caught.value.message
    assert remedy in caught.value.remedy
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [1, 200, 235, 255])
def test_any_name_that_the_file_system_allows_can_be_had(fetch, tmp_path, length):
    path = tmp_path / ("m" * length)
    download = fetch(path)
    assert download.apply(download.plan(), Ownership(None, None, 0o644, None)) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
