# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import UploadSourceError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.uploads import Upload


def test_a_file_has_its_size_and_can_be_read_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 2_500_000)
    upload = Upload(path)
    assert len(upload) == 2_500_000
    assert upload.repeatable
    assert [len(piece) for piece in upload] == [1_048_576, 1_048_576, 402_848]
    assert b"".join(upload) == path.read_bytes()


def test_an_iterator_is_read_once() -> None:
    upload = Upload(iter([b"he", b"llo"]), size=5)
    assert not upload.repeatable
    assert list(upload) == [b"he", b"llo"]


def test_an_iterator_without_a_size_is_refused() -> None:
    with pytest.raises(UploadSourceError, match="size"):
        Upload([b"x"])


@pytest.mark.parametrize("size, complaint", [(4, "longer than the 4 bytes"), (6, "ended after 5 of 6 bytes")])
def test_another_length_than_announced(size: int, complaint: str) -> None:
    with pytest.raises(UploadSourceError, match=complaint):
        list(Upload([b"hello"], size=size))


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UploadSourceError, match="gone cannot be sent: No such file"):
        Upload(tmp_path / "gone")


def test_a_file_that_vanishes_before_it_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"hello")
    upload = Upload(path)
    path.unlink()
    with pytest.raises(UploadSourceError, match="No such file"):
        list(upload)


def test_a_file_that_is_cut_while_it_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 3_000_000)
    pieces = iter(Upload(path))
    next(pieces)
    path.write_bytes(b"")
    with pytest.raises(UploadSourceError, match="ended after"):
        list(pieces)
