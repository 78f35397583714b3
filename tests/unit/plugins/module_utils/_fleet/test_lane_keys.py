# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that LegionIO's newer requesters write for a shared lane."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import InvalidLaneError, LaneCollisionError
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import Lane, check_collisions, lane

MODEL = "qwen3.5:27b"
BASE = "llm.fleet.inference.qwen3-5-27b"


def shared(*suffixes: str, **options: Any) -> Lane:
    return lane("chat", MODEL, style="shared", suffixes=suffixes, **options)


def test_keys_of_a_lane_without_suffixes_are_its_name() -> None:
    assert shared().keys == (BASE,)


@pytest.mark.parametrize(
    "suffix",
    [
        *("ctx32768", "boundary.eu", "elig.0123456789abcdef", "ctx8192.boundary.eu-west-1", "#"),
        *("ctx8192.elig.0a", "boundary.eu.elig.0a", "ctx8192.boundary.a.elig.b", "*", "*.boundary.eu", "*.elig.0a"),
    ],
)
def test_keys_of_a_lane_with_a_suffix_have_that_too(suffix: str) -> None:
    assert shared(suffix).keys == (BASE, f"{BASE}.{suffix}")
    embed = lane("embed", MODEL, style="shared", suffixes=[suffix])
    assert embed.keys == ("llm.fleet.embed.qwen3-5-27b", f"llm.fleet.embed.qwen3-5-27b.{suffix}")


def test_keys_of_a_lane_with_a_context_window_begin_with_the_models_name() -> None:
    made = shared("ctx131072", "ctx32768", "ctx131072", context_window=32768)
    assert made.keys == (f"{BASE}.ctx32768", f"{BASE}.ctx131072")


@pytest.mark.parametrize(
    "suffix",
    [
        *("", ".", "ctx", "ctx0", "ctx-1", "ctx32768.", ".ctx32768", "CTX1", "boundary", "boundary.", "boundary.EU"),
        *("boundary.-a", "boundary." + "a" * 65, "elig.a.boundary.b", "boundary.a.ctx1", "**", "ctx1.#", "#.#", "a"),
        *("*.*", "*.#", "boundary.*", "elig.*", "ctx*", "boundary.a.*"),
        *("ctx1boundary.a", "boundary.a.elig", "ctx1\n", "boundary.\u00e4"),
    ],
)
def test_lane_with_a_suffix_that_no_requester_writes_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidLaneError, match="suffix"):
        shared(suffix)


@pytest.mark.parametrize("style", ["model", "offering"])
def test_lane_of_another_style_with_a_suffix_is_refused(style: str) -> None:
    with pytest.raises(InvalidLaneError, match="only lanes of style shared"):
        lane("chat", MODEL, style=style, node="gpu-01", suffixes=["ctx1"])


def test_lane_with_a_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidLaneError, match="255"):
        lane("chat", "m" * 64 + "/" + "m" * 60 + ":" + "t" * 60, style="shared", suffixes=["boundary." + "a" * 64])


@pytest.mark.parametrize(
    "one, other",
    [
        (shared("ctx1"), shared(context_window=1)),
        (shared("ctx1"), shared("ctx1", context_window=2)),
        (shared("#"), shared(context_window=1)),
        (shared("#", context_window=1), shared()),
        (shared("#", context_window=1), shared("boundary.a", context_window=2)),
        (shared("*"), shared(context_window=1)),
        (shared("*"), shared("*", context_window=1)),
        (shared("*.boundary.a"), shared("ctx2.boundary.a", context_window=1)),
        (shared("*.boundary.a"), shared("#", context_window=1)),
    ],
)
def test_check_collisions_of_lanes_that_would_share_a_key_refuses_them(one: Lane, other: Lane) -> None:
    for lanes in ([one, other], [other, one]):
        with pytest.raises(LaneCollisionError, match="would both get what is sent to"):
            check_collisions(lanes)


def test_check_collisions_of_lanes_with_keys_of_their_own_takes_them() -> None:
    other_model = lane("chat", "qwen3.5:270b", style="shared", suffixes=["#"])
    embed = lane("embed", MODEL, style="shared", suffixes=["#"])
    check_collisions([shared("#"), other_model, embed])
    check_collisions([shared("ctx1", "ctx2"), shared("boundary.a", context_window=3)])
    check_collisions([shared("*", context_window=1), shared("boundary.a", "elig.b")])
    check_collisions([shared("*.boundary.a"), shared("ctx1.boundary.b", context_window=1)])
