# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that read like a translation are found where readers meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import wording

Plant = Callable[[dict[str, str]], Path]


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("The registry is told everything.", "is told"),
        ("Errors of which nothing is known.", "of which"),
        ("Return None for what is none.", "what is none"),
        ("The body is none that can be read.", "is none that"),
        ("A header that is no header.", "that is no"),
        ("Return what becomes of a request.", "what becomes of"),
        ("It lets go of the socket.", "lets go of"),
        ("The queue is declared anew.", "anew"),
        ("Return what became of a request.", "what became of"),
        ("The broker confirms it all the same.", "all the same"),
        ("The broker gives the message out again.", "gives the message out"),
        ("Call back after so many seconds.", "after so many"),
        ("Return the key; None when there is none.", "when there is none"),
        ("A key is read. What is wrong with it is said.", "d. What is wrong with it is said."),
        ("A key is read. Whoever has it may ask.", "d. Whoever has it may ask."),
    ],
)
@pytest.mark.parametrize(
    "name, file",
    [
        ("a.py", '"""A module.\n\n{}\n"""\n'),
        ("a.py", "A = 1\nB = 2\n# {}\n"),
        ("a.py", 'A = 1\nD = """\n{}\n"""\n'),
        ("a.py", 'A = 1\nB = 2\nraise ValueError("{}")\n'),
        ("a.py", 'A = 1\nB = 2\nLOG.error("event", reason=f"{{A}} said: {}")\n'),
        ("a.py", 'A = 1\nB = 2\nTEXTS = {{A: "{}"}}\n'),
        ("docs/a.md", "# A\n\n{}\n"),
        ("roles/a/meta/argument_specs.yml", "a:\n  description:\n    - {}\n"),
    ],
)
def test_offences_pattern_in_prose_names_line_and_words(
    plant: Plant, sentence: str, words: str, name: str, file: str
) -> None:
    (found,) = wording.offences(plant({name: file.format(sentence)}))
    assert found.startswith(f'{name}:3: "{words}" is not plain English: ')


def test_offences_pattern_across_comment_lines_is_found(plant: Plant) -> None:
    (found,) = wording.offences(plant({"a.py": "# The registry is\n# told everything.\n"}))
    assert found.startswith('a.py:1: "is told"')


@pytest.mark.parametrize(
    "name, file",
    [
        ("a.py", 'said = "is told"\n'),
        ("a.py", '"""One of which, each of which, both of which."""\n'),
        ("a.py", '"""What is no longer there."""\n'),
        ("a.py", '"""The files are all the same. One of so many: it runs out of memory."""\n'),
        ("docs/a.md", "A heading. What it does:\nOne more. What does it do? It runs. What a day!\n"),
        ("docs/a.md", "# A\n```\nis told\n```\n"),
        ("a.txt", "is told\n"),
    ],
)
def test_offences_other_text_is_left_alone(plant: Plant, name: str, file: str) -> None:
    assert list(wording.offences(plant({name: file}))) == []


def test_offences_pattern_in_a_string_is_reported_once(plant: Plant) -> None:
    source = '"""The registry is told."""\nA = """\nThe registry is told.\n"""\nprint(f"{A}: the registry is told")\n'
    assert len(list(wording.offences(plant({"a.py": source})))) == 3


@pytest.mark.parametrize(
    "name, count",
    [
        ("test_what_is_no_address", 1),
        ("test_it_waits", 1),
        ("test_lane_is_told_once", 1),
        ("test_header_that_is_none_is_refused", 1),
        ("test_value_of_other_text_is_none", 0),
        ("test_item_is_kept", 0),
        ("what_is_wrong", 0),
    ],
)
def test_offences_name_of_a_test_without_its_subject_is_found(plant: Plant, name: str, count: int) -> None:
    found = list(wording.offences(plant({"tests/test_a.py": f"A = 1\n\n\ndef {name}() -> None: ...\n"})))
    assert [line.partition(": ")[0] for line in found] == ["tests/test_a.py:4"] * count


@pytest.mark.parametrize("comment, count", [("Shutdown", 0), ("The end.", 1)])
def test_offences_section_comment_with_full_stop_is_found(plant: Plant, comment: str, count: int) -> None:
    source = f"class A:\n    a = 1\n\n    # {comment}\n\n    b = 2\n    # A reason.\n    c = 3\n"
    assert (
        list(wording.offences(plant({"a.py": source})))
        == ["a.py:4: a section comment is a noun without a full stop"] * count
    )
