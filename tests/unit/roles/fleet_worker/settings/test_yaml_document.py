# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A YAML file is read up to the limits, and refused beyond each of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fleet_worker.settings import yaml_document
from fleet_worker.settings.yaml_document import MAX_DEPTH, UnreadableError, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.yml"


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(str(path))
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_read_returns_the_document_with_the_values_of_its_aliases(path: Path) -> None:
    path.write_text("a: &a [1, é]\nb: *a\nc: {<<: {d: null}}\n", encoding="utf-8")
    assert read(str(path)) == {"a": [1, "é"], "b": [1, "é"], "c": {"d": None}}


def test_read_file_of_the_most_bytes_passes_and_one_more_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_document, "MAX_BYTES", 100)
    path.write_bytes(b"#" * 100)
    assert read(str(path)) is None
    path.write_bytes(b"#" * 101)
    assert refusal(path).startswith("cannot be read: it has more than 100 bytes; ")


def test_read_document_of_the_most_levels_passes_and_one_more_is_refused(path: Path) -> None:
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read(str(path))
    path.write_text("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert refusal(path) == f"is not YAML: it has more than {MAX_DEPTH} levels; correct it there"


def test_read_many_values_side_by_side_are_not_levels(path: Path) -> None:
    path.write_text("[" + "[1], " * (2 * MAX_DEPTH) + "]")
    assert len(read(str(path))) == 2 * MAX_DEPTH


@pytest.mark.parametrize("text", ["[1, 2, {a: b}]", "[&a [1], *a, 2]"])
def test_read_document_of_the_most_values_passes_and_one_more_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Both have six values: a list or mapping is one, and an alias counts again."""
    path.write_text(text)
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 6)
    assert read(str(path))
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 5)
    assert refusal(path) == "is not YAML: it has more than 5 values; correct it there"


def test_read_alias_inside_of_its_own_value_is_refused(path: Path) -> None:
    path.write_text("a: &a {b: [*a]}")
    assert refusal(path) == "is not YAML: an alias stands inside of what it repeats; correct it there"


def test_read_pipe_is_refused_without_waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path).startswith("cannot be read: it is not a regular file; ")


def test_read_folder_missing_file_and_invalid_path_are_refused(path: Path) -> None:
    assert "No such file" in refusal(path)
    assert refusal(path.parent).startswith("cannot be read: ")
    assert refusal(Path(f"{path}\0")).startswith("cannot be read: embedded null byte; ")


def test_read_long_problem_is_cut_and_on_one_line(path: Path) -> None:
    path.write_text(f"a: !{'x' * 5000} b")
    assert len(refusal(path)) < 600


def test_read_error_without_a_text_is_named_by_its_class(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_arguments: object, **_options: object) -> None:
        raise RecursionError

    path.write_text("a: b")
    monkeypatch.setattr(yaml_document.yaml, "load", raises)
    assert refusal(path) == "is not YAML: RecursionError; correct it there"
