# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import (
    OPTIONS,
    RANGED,
    RUNNER_OPTIONS,
    RefusedFieldError,
    allowed,
)

API = json.loads((Path(__file__).parent / "ollama_api.json").read_text())


def passed(options: dict[str, Any], **ranges: tuple[float, float]) -> dict[str, Any]:
    return allowed(options, ranges, ())[0]


def test_allowed_of_the_usual_options_passes_them_on() -> None:
    usual = {
        "temperature": 0.7,
        "top_p": 1,
        "top_k": 40,
        "seed": 42,
        "num_predict": -1,
        "repeat_last_n": -1,
        "repeat_penalty": 1.1,
        "stop": ["</s>", "\n\n"],
        "presence_penalty": -2,
        "mirostat": 2,
        "penalize_newline": False,
    }
    assert allowed(usual, {}, RUNNER_OPTIONS) == (usual, [])


def test_allowed_leaves_out_what_is_pinned_unknown_or_null() -> None:
    options = {"num_ctx": 10**6, "NUM_CTX": 5, "low_vram": True, "unknown": {}, "seed": None, "top_k": 5.0}
    assert allowed(options, {}, RUNNER_OPTIONS) == ({"top_k": 5}, ["num_ctx", "NUM_CTX", "low_vram", "unknown"])


def test_allowed_takes_a_single_stop_as_a_list() -> None:
    assert passed({"stop": "a"}) == {"stop": ["a"]}


@pytest.mark.parametrize("name", sorted(RANGED))
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        -(10**400),
        10**25,
        -(10**25),
        True,
        False,
        "1",
        "",
        [],
        [1],
        {},
        {"a": 1},
    ],
    ids=str,
)
def test_allowed_refuses_what_is_no_number_by_name(name: str, value: Any) -> None:
    with pytest.raises(RefusedFieldError, match=rf"options\.{name} is") as caught:
        passed({name: value})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", sorted(RANGED))
def test_allowed_takes_both_ends_of_a_range_and_nothing_beyond(name: str) -> None:
    option = OPTIONS[name]
    assert math.isfinite(option.least) and math.isfinite(option.most)
    for end, beyond in ((option.least, -1), (option.most, 1)):
        assert passed({name: end}) == {name: end}
        with pytest.raises(RefusedFieldError, match="takes"):
            passed({name: end + beyond})


@pytest.mark.parametrize(
    "option, value",
    [
        ("repeat_last_n", 500_000_000),
        ("repeat_penalty", 0),
        ("seed", 1.5),
        ("use_mmap", 1),
        ("penalize_newline", "no"),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("stop", ["x"] * 65),
        ("stop", ["x" * 1025]),
        ("stop", "x" * 1025),
    ],
)
def test_allowed_refuses_what_would_hurt(option: str, value: Any) -> None:
    with pytest.raises(RefusedFieldError, match=option):
        passed({option: value})


def test_allowed_follows_the_ranges_of_the_lane() -> None:
    assert passed({"repeat_last_n": 100_000}, repeat_last_n=(0, 100_000)) == {"repeat_last_n": 100_000}
    with pytest.raises(RefusedFieldError, match="takes 0 to 100000"):
        passed({"repeat_last_n": -1}, repeat_last_n=(0, 100_000))


def test_the_options_are_those_of_the_api_of_each_version() -> None:
    for version, api in API["versions"].items():
        assert set(api["Options"]) <= set(OPTIONS), version
        assert set(api["Runner"]) == {name for name in RUNNER_OPTIONS if name in api["Runner"]}, version
    # Those of servers older than the oldest that is supported, which playbooks may still name.
    assert set(OPTIONS) - {name for api in API["versions"].values() for name in (*api["Options"], *api["Runner"])} == {
        "tfs_z",
        "penalize_newline",
        "numa",
    }
