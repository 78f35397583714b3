# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library: which blobs of a store are shared, and which of their bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from blob_server import library
from blob_server._mirror.peers.piece_list import PieceList
from blob_server._mirror.peers.piece_marks import PieceMarks
from blob_server._ollama.digests import blob_file_name, digest_of
from blob_server._ollama.errors import CollectionError
from blob_server._ollama.names import ModelName
from blob_server._ollama.safe_fs import Ownership
from blob_server._ollama.store import Store, StoreSettings
from blob_server.library import FRESH, FRESH_ENOUGH, Library, SharedBlob

CONTENT = b"weights of a model"
DIGEST = digest_of(CONTENT)
SHARED, PRIVATE = ModelName.parse("llama3:8b"), ModelName.parse("secret:1")
PIECE = 8


class Shelf:
    """A store, and the library of its shared models, with a clock that stands still."""

    def __init__(self, path: Path, clock: Any) -> None:
        self._path = str(path)
        self._clock = clock
        self.store = Store(StoreSettings(self._path)).__enter__()
        self.store.prepare()
        self.library = Library(self._path, ["llama*"])

    def put(self, content: bytes = CONTENT) -> None:
        """Write a blob."""
        Path(self.store.blob_path(digest_of(CONTENT))).write_bytes(content)

    def name(self, model: ModelName = SHARED, digest: str = DIGEST) -> None:
        """Write the manifest of a model of one blob."""
        layers = [{"mediaType": "x", "digest": digest, "size": len(CONTENT)}]
        self.store.write_manifest(model, json.dumps({"schemaVersion": 2, "layers": layers}).encode())

    def runs_import(self, *models: str, marks: bytes = b"110", content: Optional[bytes] = CONTENT) -> PieceMarks:
        """Begin an import of the blob, which has some pieces."""
        pieces = PieceList(DIGEST, len(CONTENT), PIECE, (b"",) * 3)
        stem = blob_file_name(DIGEST)
        made = PieceMarks(self.store.partials, stem, pieces, Ownership(None, None, 0o600, 0o700))
        made.open()
        made.publish(models, marks)
        if content is not None:
            Path(self.store.partials.join(f"{stem}.partial")).write_bytes(content)
        return made

    def later(self, seconds: float) -> None:
        self._clock.now += seconds

    def find(self, digest: str = DIGEST) -> Optional[tuple[bytes, bool, bool]]:
        """Return the bytes of the file of a blob, and whether its first and last byte are available."""
        found = self.library.find(digest)
        if found is None:
            return None
        with os.fdopen(found.descriptor, "rb") as file:
            return file.read(), found.has(0, 1), found.has(found.size - 1, found.size)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(library, "time", SimpleNamespace(monotonic=lambda: clock.now))
    made = Shelf(tmp_path / "models", clock)
    yield made
    made.store.close()


@pytest.mark.parametrize(
    "start, stop, has", [(0, 18, True), (17, 18, True), (0, 19, False), (5, 5, False), (6, 5, False), (-1, 5, False)]
)
def test_has_range_of_a_complete_blob_within_its_size(start: int, stop: int, has: bool) -> None:
    assert SharedBlob(-1, 18).has(start, stop) is has


def test_find_blob_of_a_shared_model_is_complete(shelf: Shelf) -> None:
    shelf.put()
    shelf.name()
    assert shelf.find() == (CONTENT, True, True)
    assert shelf.find(digest_of(b"other")) is None


def test_find_blob_of_other_models_is_not_shared(shelf: Shelf) -> None:
    shelf.put()
    shelf.name(PRIVATE)
    assert shelf.find() is None
    shelf.name()
    shelf.later(FRESH_ENOUGH)
    assert shelf.find() is not None


def test_find_blob_that_is_missing_or_has_another_size_is_not_returned(shelf: Shelf) -> None:
    shelf.name()
    assert shelf.find() is None
    before = len(os.listdir("/proc/self/fd"))
    shelf.put(CONTENT + b"x")
    assert shelf.find() is None
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor stays open"


def test_find_new_manifest_is_read_soon_and_a_removed_one_later(shelf: Shelf) -> None:
    shelf.put()
    assert shelf.find() is None
    shelf.name()
    shelf.later(FRESH_ENOUGH - 0.1)
    assert shelf.find() is None
    shelf.later(0.1)
    assert shelf.find() is not None
    shelf.store.remove_manifest(SHARED)
    shelf.later(FRESH - 0.1)
    assert shelf.find() is not None
    shelf.later(0.1)
    assert shelf.find() is None


def test_find_damaged_manifest_shares_nothing_and_hides_no_other(shelf: Shelf) -> None:
    shelf.put()
    shelf.store.write_manifest(ModelName.parse("llama2"), b"no JSON")
    shelf.name()
    assert shelf.find() is not None


def test_find_blob_of_a_running_import_has_its_pieces(shelf: Shelf) -> None:
    marks = shelf.runs_import(PRIVATE.full, SHARED.full)
    assert shelf.find() == (CONTENT, True, False)
    marks.set(2, b"1"[0])
    assert shelf.find() == (CONTENT, True, True)
    marks.close()
    assert shelf.find() is None


@pytest.mark.parametrize("models", [(), (PRIVATE.full,), ("a/b/c/d/e", "")])
def test_find_blob_of_a_running_import_for_other_models_is_not_shared(shelf: Shelf, models: tuple[str, ...]) -> None:
    marks = shelf.runs_import(*models)
    assert shelf.find() is None
    marks.close()


def test_find_invalid_name_of_an_import_hides_no_shared_model(shelf: Shelf) -> None:
    marks = shelf.runs_import("a/b/c/d/e", SHARED.full)
    assert shelf.find() is not None
    marks.close()


def test_find_import_for_other_models_does_not_hide_the_complete_blob(shelf: Shelf) -> None:
    shelf.put()
    shelf.name()
    marks = shelf.runs_import(PRIVATE.full, marks=b"000", content=b"")
    assert shelf.find() == (CONTENT, True, True)
    marks.close()


def test_find_blob_that_the_import_has_just_completed_is_complete(shelf: Shelf) -> None:
    marks = shelf.runs_import(SHARED.full, marks=b"000", content=None)
    assert shelf.find() is None
    shelf.put()
    assert shelf.find() == (CONTENT, True, True)
    marks.close()


def test_find_file_that_moves_meanwhile_is_found(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import renames the file between the two looks of the library."""
    marks = shelf.runs_import(SHARED.full)
    partial = Path(shelf.store.partials.join(f"{blob_file_name(DIGEST)}.partial"))
    open_blob = Store.open_blob

    def complete_after(store: Store, digest: str) -> Optional[int]:
        found = open_blob(store, digest)
        if partial.exists():
            partial.rename(shelf.store.blob_path(DIGEST))
        return found

    monkeypatch.setattr(Store, "open_blob", complete_after)
    assert shelf.find() == (CONTENT, True, True)
    marks.close()


def test_library_pattern_that_no_name_can_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="pattern"):
        Library(str(tmp_path), ["*", "a/b/c/d"])


def test_find_store_that_does_not_exist_shares_nothing(tmp_path: Path) -> None:
    assert Library(str(tmp_path / "missing"), ["*"]).find(DIGEST) is None
