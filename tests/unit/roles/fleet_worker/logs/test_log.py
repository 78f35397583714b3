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
from fleet_worker.logs.log import Log, set_up


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def lines(capfd: Any) -> list[str]:
    written: list[str] = capfd.readouterr().out.splitlines()
    return written


def test_logfmt(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("logfmt", "info")
    Log().info("request", lane="llm.fleet.embed.a", seconds=0.12345, error='a "b"=c', gone=None, marked=True, n=3)
    Log().debug("hidden")
    (line,) = lines(capfd)
    time, _space, rest = line.partition(" ")
    assert time.startswith("time=2") and time.endswith("Z")
    assert rest == 'level=info event=request lane=llm.fleet.embed.a seconds=0.123 error="a \\"b\\"=c" marked=true n=3'


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("json", "debug")
    Log().debug("request", lane="a", gone=None)
    (line,) = lines(capfd)
    document = json.loads(line)
    assert document.pop("time")
    assert document == {"level": "debug", "event": "request", "lane": "a"}


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_an_event_is_one_line_whatever_is_in_it(style: str, capfd: pytest.CaptureFixture[str]) -> None:
    set_up(style, "info")
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        Log().exception("defect", text="a\nb")
    (line,) = lines(capfd)
    assert "Traceback" in line and "RuntimeError" in line


def test_pika_is_silent_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("logfmt", "info")
    logging.getLogger("pika.adapters").error("connection lost")
    assert lines(capfd) == []


@pytest.mark.parametrize("style", ["logfmt", "json"])
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("a\nlevel=info event=request forged", id="line feed"),
        pytest.param("\x1b[31mred\x1b[0m\x07", id="escapes"),
        pytest.param("\u202eevil\u2066", id="bidirectional marks"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param("x" * 15_000_000, id="15 MB"),
        pytest.param(10**400, id="400 digits"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(["\n"], id="list"),
    ],
)
def test_a_line_with_foreign_text_is_short_and_printable(
    style: str, odd: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(style, "info")
    Log().info("request", correlation_id=odd, after=1)
    (line,) = lines(capfd)
    assert line.isprintable() and len(line) < 600
    if style == "json":
        document = json.loads(line, parse_constant=pytest.fail)
        assert (document["event"], document["after"]) == ("request", 1)
    else:
        assert line.endswith(" after=1") and line.count("event=") <= 2


def test_a_traceback_with_foreign_text_is_printable_and_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("logfmt", "info")
    try:
        raise RuntimeError("\x1b[31m" + "x" * 1_000_000)
    except RuntimeError:
        Log().exception("defect")
    (line,) = lines(capfd)
    assert line.isprintable() and len(line) < 5000
    assert "RuntimeError" in line


def test_a_line_that_cannot_be_written_raises_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    set_up("logfmt", "info")
    Log().info("request", odd=Odd())
    (line,) = lines(capfd)
    assert "event=log_line_lost reason=ValueError" in line
