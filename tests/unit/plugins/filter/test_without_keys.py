# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly the named keys are left out, at every level."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.filter.without_keys import without_keys

CONFIG = {"a": 1, "b": {"c": 2, "a": 3}, "lanes": [{"model": "x", "new": 1}, {"model": "y"}]}


@pytest.mark.parametrize(
    "paths, left",
    [
        ([], CONFIG),
        (["a"], {"b": {"c": 2, "a": 3}, "lanes": CONFIG["lanes"]}),
        (["b.a", "lanes.0.new"], {"a": 1, "b": {"c": 2}, "lanes": [{"model": "x"}, {"model": "y"}]}),
        (["b"], {"a": 1, "lanes": CONFIG["lanes"]}),
        (["nothing", "a.b.c", "lanes.9.model", "0"], CONFIG),
    ],
)
def test_without_keys_leaves_out_what_is_named(paths: list[str], left: dict[str, Any]) -> None:
    assert without_keys(CONFIG, paths) == left


def test_without_keys_leaves_its_input_alone() -> None:
    without_keys(CONFIG, ["b.c"])
    assert CONFIG["b"] == {"c": 2, "a": 3}
