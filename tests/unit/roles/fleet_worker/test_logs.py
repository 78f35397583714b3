# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fleet_worker.logs import Log, set_up


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def lines(capsys: Any) -> list[str]:
    written: list[str] = capsys.readouterr().out.splitlines()
    return written


def test_logfmt(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("logfmt", "info")
    Log().info("request", lane="llm.fleet.embed.a", seconds=0.12345, error='a "b"=c', gone=None, marked=True, n=3)
    Log().debug("hidden")
    (line,) = lines(capsys)
    time, _space, rest = line.partition(" ")
    assert time.startswith("time=2") and time.endswith("Z")
    assert rest == 'level=info event=request lane=llm.fleet.embed.a seconds=0.123 error="a \\"b\\"=c" marked=true n=3'


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "debug")
    Log().debug("request", lane="a", gone=None)
    (line,) = lines(capsys)
    document = json.loads(line)
    assert document.pop("time")
    assert document == {"level": "debug", "event": "request", "lane": "a"}


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_an_event_is_one_line_whatever_is_in_it(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(style, "info")
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        Log().exception("defect", text="a\nb")
    (line,) = lines(capsys)
    assert "Traceback" in line and "RuntimeError" in line


def test_pika_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("logfmt", "info")
    logging.getLogger("pika.adapters").error("connection lost")
    assert lines(capsys) == []
