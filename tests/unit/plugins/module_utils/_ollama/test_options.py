# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.options import (
    InvalidOptionError,
    keep_alive,
    keep_alive_seconds,
    runner_options,
)


def test_texts_become_what_the_option_is() -> None:
    assert runner_options(
        {"num_ctx": "4096", "seed": 7.0, "temperature": "0.5", "top_p": 1, "use_mmap": "no", "stop": "a", "future": "x"}
    ) == {"num_ctx": 4096, "seed": 7, "temperature": 0.5, "top_p": 1.0, "use_mmap": False, "stop": ["a"], "future": "x"}
    assert runner_options({"stop": ["a", 1]}) == {"stop": ["a", "1"]}


@pytest.mark.parametrize(
    "option, value",
    [
        ("num_ctx", "many"),
        ("num_ctx", 1.5),
        ("num_ctx", True),
        ("temperature", None),
        ("temperature", [1]),
        ("use_mmap", 3),
    ],
)
def test_option_with_an_invalid_value_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=option) as caught:
        runner_options({option: value})
    assert caught.value.details["option"] == option


@pytest.mark.parametrize(
    "value, sent, seconds",
    [
        (None, None, None),
        (600, 600, 600),
        ("600", 600, 600),
        ("1.5", 1.5, 1.5),
        (0, 0, 0),
        (-1, -1, math.inf),
        ("-1", -1, math.inf),
        ("-1m", "-1m", math.inf),
        ("10m", "10m", 600),
        ("1h30m", "1h30m", 5400),
        ("500ms", "500ms", 0.5),
        (" 5m ", "5m", 300),
    ],
)
def test_keep_alive(value: Any, sent: Any, seconds: Any) -> None:
    assert keep_alive(value) == sent
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize("value", ["10 minutes", "soon", "5d", "", True, "nan", "inf"])
def test_keep_alive_with_an_invalid_time_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="keep_alive"):
        keep_alive(value)
