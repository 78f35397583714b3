# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw a recorded terminal as an SVG picture.

Of each part of the record, which begins with a line `== …`, the picture shows the first and the last lines, and "…" in
place of the lines between them. The last part ends before the suggestions. Keys are replaced by `flg_…`, and the home
folder by `~`. Nothing else is altered.

usage: python terminal_picture.py RECORD PICTURE [--command 'make demo']

RECORD is a file of script(1).
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

WIDTH = 120
"""Columns of the picture. Longer lines are cut."""

FIRST, LAST = 3, 4
"""Lines of a part that are shown at its beginning, its heading included, and at its end."""

LAST_OF_ALL = 6
"""Lines that are shown at the end of the last part: the recap, the question to the gateway and its answer."""

CUT = "  …"

# Terminals are asked for titles and colours (OSC), and moved about (CSI other than SGR): neither can be drawn.
CONTROLS = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-?]*[ -/]*[@-ln-~]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HEADING = re.compile(r"== ")
PLAY = re.compile(r"PLAY \[")
SUGGESTIONS = re.compile(r"What to try next")
OF_SCRIPT = re.compile(r"Script (?:started|done) on ")
KEY = re.compile(r"\bflg_[\w-]+")
FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
PRIVATE = re.compile(r"(?<![\w.~-])/(?:root|home|work|mnt|Users)/[\w./-]*")


def recorded_lines(record: str) -> list[str]:
    """Return the lines of a record as they were at the end of each, with their colours alone."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in CONTROLS.sub("", record).split("\n")]
    end = next((number for number, line in enumerate(lines) if SUGGESTIONS.match(line)), len(lines))
    lines = lines[:end]
    return [line for line in lines if not OF_SCRIPT.match(line)]


def plain(line: str) -> str:
    return COLOURS.sub("", line)


def without_secrets(line: str, home: str) -> str:
    """Return the line with `flg_…` for a key, and `~` for the home folder."""
    return KEY.sub("flg_…", line).replace(home, "~")


def parts(lines: list[str]) -> list[list[str]]:
    """Split lines into parts, each with its heading first. Lines before the first heading are a part, too."""
    found: list[list[str]] = [[]]
    for line in lines:
        if HEADING.match(plain(line)):
            found.append([])
        found[-1].append(line)
    return [part for part in found if any(plain(line).strip() for line in part)]


def shortened(part: list[str], last: int = LAST) -> list[str]:
    """Return the beginning and the end of a part, without its empty lines.

    :param last: lines at the end.
    """
    shown = [line for line in part if plain(line).strip()]
    # A newcomer need not see warnings before the first play.
    play = next((number for number, line in enumerate(shown) if PLAY.match(plain(line))), 1)
    if play > 1:
        shown = [shown[0], CUT, *shown[play:]]
    if len(shown) <= FIRST + last + 1:
        return shown
    return [*shown[:FIRST], CUT, *shown[-last:]]


def drawn(lines: list[str], title: str) -> str:
    """Return the SVG of some lines with colours."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for text in AnsiDecoder().decode("\n".join(lines)):
        console.print(text, no_wrap=True, overflow="ellipsis", highlight=False)
    svg = console.export_svg(title=title, unique_id="terminal")
    # Rich would load a font from a server. A monospaced font of the reader's machine is enough.
    return FONT.sub("", svg).replace("Fira Code, monospace", "monospace")


def picture(record: str, command: str, home: str) -> str:
    """Return the picture of a record.

    :param command: that was recorded; the first line and the title show it.
    :param home: the folder whose path is not shown.
    :raises ValueError: if a path of the machine remains.
    """
    lines = [f"\x1b[1m$ {command}\x1b[0m"]
    recorded = parts([without_secrets(line, home) for line in recorded_lines(record)])
    for part in recorded:
        lines += ["", *shortened(part, LAST_OF_ALL if part is recorded[-1] else LAST)]
    for line in lines:
        private = PRIVATE.search(plain(line))
        if private:
            raise ValueError(f"the path {private[0]} of this machine would be in the picture: {plain(line)}")
    return drawn(lines, command)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--command", default="make demo")
    options = parser.parse_args()
    try:
        svg = picture(options.record.read_text(errors="replace"), options.command, str(Path.home()))
    except (OSError, ValueError) as error:
        print(f"terminal_picture: {error}", file=sys.stderr)
        return 1
    options.picture.write_text(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
