# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a terminal shows what was recorded, shortened, and nothing private."""

from __future__ import annotations

import html
import re

import pytest
import terminal_picture


def shown(svg: str) -> list[str]:
    """Return the texts of a picture."""
    return [html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_colours_stay_and_controls_go() -> None:
    svg = terminal_picture.picture("\x1b]0;title\x07\x1b[2K\x1b[32mok: [node1]\x1b[0m\r\n", "make demo", "/home/user")
    assert "$ make demo" in shown(svg)
    assert "ok: [node1]" in shown(svg)
    assert "title" not in shown(svg)


def test_no_font_is_loaded() -> None:
    assert "url(http" not in terminal_picture.picture("text\n", "make demo", "/home/user")


def test_a_line_that_was_written_again_is_shown_as_it_ended() -> None:
    assert terminal_picture.recorded_lines("10 %\r100 %\r\nScript done on Monday") == ["100 %"]


def test_the_record_ends_before_the_suggestions() -> None:
    assert terminal_picture.recorded_lines("an answer\nWhat to try next\n  make demo") == ["an answer"]


def test_the_middle_of_a_part_is_left_out_visibly() -> None:
    part = ["== 1/2 Long", *(f"line {number}" for number in range(20)), ""]
    assert terminal_picture.shortened(part) == [
        *("== 1/2 Long", "line 0", "line 1", terminal_picture.CUT),
        *("line 16", "line 17", "line 18", "line 19"),
    ]


def test_each_heading_begins_a_part() -> None:
    lines = ["before", "", "\x1b[1m== 1/2 One\x1b[0m", "text", "== 2/2 Two"]
    assert [part[0] for part in terminal_picture.parts(lines)] == ["before", "\x1b[1m== 1/2 One\x1b[0m", "== 2/2 Two"]


def test_keys_and_the_home_folder_are_replaced() -> None:
    line = "curl -H 'Authorization: Bearer flg_1a2b3c4d5e' in /home/user/.cache, with the key flg_1a2b3c4d5e"
    assert terminal_picture.without_secrets(line, "/home/user") == (
        "curl -H 'Authorization: Bearer flg_…' in ~/.cache, with the key flg_…"
    )


def test_another_path_of_the_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="/home/models/file"):
        terminal_picture.picture("kept in /home/models/file\n", "make demo", "/home/user")
