# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._module import progress
from ansible_collections.legionio.ollama.plugins.module_utils._module.progress import (
    decoded,
    encoded,
    reported_progress,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Names files for the progress, as the action plugin does; without it none are named."""
    monkeypatch.delenv(progress.FILES_VARIABLE, raising=False)
    return lambda *files: monkeypatch.setenv(progress.FILES_VARIABLE, os.pathsep.join(map(str, files)))


def seen(path: Path, done: int) -> Optional[dict[str, Any]]:
    """The first state that says so many bytes; the ones before it may have been written meanwhile."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        state = decoded(path.read_text())
        if state and state.get("bytes") == done:
            return state
        time.sleep(0.01)
    return None


@pytest.mark.parametrize("model", ["llama3:8b", "\u00e4" * progress.LONGEST_TEXT, "x" * 1000])
def test_a_state_survives_the_file_and_a_terminal(model: str) -> None:
    state = {"model": model[: progress.LONGEST_TEXT], "step": "", "bytes": 10**13, "bytes_total": 10**14}
    content = encoded(state)
    assert len(content) == progress.SIZE
    read = decoded("\r\n" + content.decode().replace("\n", "\r\n"))
    assert read == (state if len(str(state).encode("ascii", "backslashreplace")) < 400 else {**state, "model": ""})


@pytest.mark.parametrize(
    "text", ["", "x", "00000000 {}", encoded({"model": "a"}).decode().replace("a", "b"), encoded({}).decode()[:9]]
)
def test_decoded_other_text_is_none(text: str) -> None:
    assert decoded(text) is None


def test_the_file_says_how_far_it_is_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Callable[..., None]
) -> None:
    monkeypatch.setattr(progress, "WRITE_EVERY", 0.02)
    monkeypatch.setattr(progress, "FORESEEABLE_AFTER", 0.0)
    path = tmp_path / "file"
    named("/proc/nowhere/file", path)
    with reported_progress() as counter:
        assert path.stat().st_mode & 0o777 == 0o600
        counter.expect("m", 1000)
        counter.add(250)
        state = seen(path, 250)
    assert state is not None
    assert (state["model"], state["bytes"], state["bytes_total"], state["percent"]) == ("m", 250, 1000, 25)
    assert state["rate"] > 0 and state["seconds_left"] is not None
    assert not path.exists()


def test_existing_file_is_not_overwritten(tmp_path: Path, named: Callable[..., None]) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    named(tmp_path / "link", tmp_path / "victim", "relative")
    with reported_progress() as counter:
        counter.add(1)
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()
    assert not Path("relative").exists()


def test_a_failure_keeps_the_last_state_beside_what_was_done() -> None:
    error = CollectionError("gone")
    error.result = {"changed": True}

    def fail_half_way() -> None:
        with reported_progress() as counter:
            counter.expect("m", 10)
            counter.add(5)
            raise error

    with pytest.raises(CollectionError):
        fail_half_way()
    assert error.result is not None
    assert error.result["changed"] is True and error.result["progress"]["percent"] == 50  # type: ignore[index]


def test_a_failure_before_anything_moved_says_nothing_of_it() -> None:
    error = CollectionError("gone")
    with pytest.raises(CollectionError), reported_progress():
        raise error
    assert error.result is None


def test_no_file_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", None)
    with reported_progress() as counter:
        counter.add(1)
