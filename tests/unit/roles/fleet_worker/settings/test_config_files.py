# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are not a configuration: each is refused with a reason, and none ends a thread or fills the memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fleet_worker.settings.config import load
from fleet_worker.settings.sections import ConfigError
from fleet_worker.updates import config
from hypothesis import given
from hypothesis import strategies as st

LAUGHS = "\n".join(
    ["a: &a0 [lol]", *(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12))]
)
MERGES = "\n".join(
    [
        "m0: &m0 {k: v}",
        *(f"m{level}: &m{level} {{<<: [{', '.join([f'*m{level - 1}'] * 10)}]}}" for level in range(1, 12)),
    ]
)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("node: 2026-02-30", "is not YAML: day is out of range for month"),
        ("node: !!int ''", "is not YAML"),
        ("node: !!python/object:os.system x", "is not YAML: could not determine a constructor"),
        ("[" * 100_000, "is not YAML: it has more than 32 levels"),
        ("{a: " * 100 + "}" * 100, "is not YAML: it has more than 32 levels"),
        (LAUGHS, "is not YAML: it has more than 100000 values"),
        (MERGES, "is not YAML: it has more than 100000 values"),
        ("node: &a [*a]", "is not YAML: an alias stands inside of what it repeats"),
        ("node: \x1b[2J", "is not YAML"),
        ("- a", "is not a mapping"),
        ("", "is not a mapping"),
        ("x" * 2_000_000, "cannot be read: it has more than 1048576 bytes"),
        ('node: "\\ud800"\nlanes: []', "node"),
        ("broker: {addresses: [1]}\nlanes: {a: [b]}", "lanes"),
        ("? [a]\n: b", "is not YAML"),
    ],
)
@pytest.mark.parametrize("read", [load, config.load])
def test_load_odd_text_is_a_config_error(tmp_path: Path, text: str, reason: str, read: object) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(str(path))  # type: ignore[operator]
    assert reason in str(caught.value) or read is not load
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 10_000


def test_load_invalid_utf8_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_bytes(b"node: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path))


@pytest.mark.parametrize("kind", ["directory", "pipe", "nothing", "link to itself"])
def test_load_no_regular_file_is_a_config_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "worker.yml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path))


@given(st.text(max_size=200))
def test_load_any_text_is_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load(str(path))
