# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lane decides, whatever a requester wants."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Failure, Request
from fleet_worker.domain.lane_terms import USUAL, LaneTerms

LANE = lane("chat", "m:1")
CONTEXT_LANE = lane("chat", "m:1", style="shared", context_window=4096)


def request(**arguments: Any) -> Request:
    return Request("chat", "chat", "m:1", arguments)


def applied(terms: LaneTerms = USUAL, on: Any = LANE, runner_options: bool = False, **arguments: Any) -> Request:
    return terms.applied_to(request(**arguments), on, runner_options=runner_options)


@pytest.mark.parametrize("wanted, sent", [("5m", "5m"), ("1h", "1h"), (300, 300), (3600.0, 3600.0), ("600", 600)])
def test_keep_alive_within_bounds_is_passed_on(wanted: Any, sent: Any) -> None:
    settled = applied(keep_alive=wanted)
    assert (settled.arguments, settled.ignored) == ({"model": "m:1", "keep_alive": sent}, ())


@pytest.mark.parametrize(
    "wanted", [0, -1, "0", "-1", "0s", "1ns", "299s", 299, -0.5, "-1m", "8760h", 3601, 1e300, 2**63]
)
def test_keep_alive_that_unloads_or_pins_the_model_is_left_out(wanted: Any) -> None:
    settled = applied(keep_alive=wanted)
    assert (settled.arguments, settled.ignored, settled.failure) == ({"model": "m:1"}, ("keep_alive",), None)


@pytest.mark.parametrize(
    "wanted", ["soon", "", True, False, [], {}, [5], float("nan"), float("inf"), 10**400, "1h" * 100, "9" * 5000, "NaN"]
)
def test_keep_alive_that_is_no_time_is_refused_by_name(wanted: Any) -> None:
    settled = applied(keep_alive=wanted)
    assert settled.arguments == {}
    assert settled.failure is not None and settled.failure.code == "unsupported_type"
    assert "keep_alive" in settled.failure.message and len(settled.failure.message) < 200


@pytest.mark.parametrize("kept", [-1, 0, "10m"])
@pytest.mark.parametrize("wanted", [None, 0, -1, "5m", "soon", [1]])
def test_keep_alive_of_the_lane_wins(kept: Any, wanted: Any) -> None:
    settled = applied(LaneTerms(keep_alive=kept), **({} if wanted is None else {"keep_alive": wanted}))
    assert settled.arguments == {"model": "m:1", "keep_alive": kept}
    assert settled.ignored == (() if wanted in (None, kept) else ("keep_alive",))


def test_options_that_load_the_model_anew_are_left_out_and_named() -> None:
    wanted = {"num_ctx": 10**6, "use_mlock": True, "low_vram": True, "unknown": 1, "seed": 1}
    settled = applied(options=wanted)
    assert settled.arguments == {"model": "m:1", "options": {"seed": 1}}
    assert settled.ignored == ("options.num_ctx", "options.use_mlock", "options.low_vram", "options.unknown")


def test_options_that_load_the_model_anew_are_passed_on_where_the_node_allows_it() -> None:
    assert applied(runner_options=True, options={"num_ctx": 8192}).arguments == {
        "model": "m:1",
        "options": {"num_ctx": 8192},
    }
    assert applied(runner_options=True, options={"num_ctx": 2**31}).failure is not None


@pytest.mark.parametrize("runner_options", [True, False])
def test_context_window_of_the_lane_is_sent_always(runner_options: bool) -> None:
    for wanted, ignored in (({}, ()), ({"num_ctx": 4096}, ()), ({"num_ctx": 8192}, ("options.num_ctx",))):
        settled = applied(on=CONTEXT_LANE, runner_options=runner_options, options=wanted)
        assert (settled.arguments, settled.ignored) == ({"model": "m:1", "options": {"num_ctx": 4096}}, ignored)
    assert applied(on=CONTEXT_LANE, runner_options=runner_options).arguments == {
        "model": "m:1",
        "options": {"num_ctx": 4096},
    }


def test_options_out_of_range_are_refused_unless_the_lane_widens_it() -> None:
    refused = applied(options={"repeat_last_n": 500_000_000})
    assert refused.failure is not None and "options.repeat_last_n" in refused.failure.message
    wide = LaneTerms(option_ranges=(("repeat_last_n", 0, 10**9),))
    assert applied(wide, options={"repeat_last_n": 500_000_000}).failure is None
    narrow = LaneTerms(option_ranges=(("num_predict", 1, 64),))
    assert applied(narrow, options={"num_predict": -1}).failure is not None


def test_a_request_that_is_refused_already_stays_as_it_is() -> None:
    failed = Request("chat", "chat", "m:1", {"keep_alive": []}, failure=Failure("unsupported_type", "x"))
    assert USUAL.applied_to(failed, LANE, runner_options=False) is failed
