# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each lane is: one state, one reason, and the view of the registry."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from fleet_worker._fleet.errors import BrokerError
from fleet_worker._fleet.registry import Trouble
from fleet_worker.amqp.registry_publisher import NO_TROUBLE, UNDECIDED
from fleet_worker.inference.health import OllamaState
from fleet_worker.worker.lane_board import LaneBoard, LaneState

from ..deliveries import lane_settings

LANE, OTHER = lane_settings("chat", "M:1"), lane_settings("embed", "other:1")
UP = OllamaState(up=True, models=frozenset({LANE.model_key, OTHER.model_key}))
DOWN = OllamaState(up=False, reason="it sleeps")


class Models:
    """What is known of the models, by their keys."""

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}
        self.busy: dict[str, str] = {}


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def board(models: Models) -> LaneBoard:
    made = LaneBoard([LANE, OTHER], lambda key: models.broken.get(key, ""), lambda key: models.busy.get(key, ""))
    made.ollama_is(UP)
    return made


def disconnect(board: LaneBoard, _models: Models) -> None:
    board.disconnected([LANE], "no connection: gone")


def declare(board: LaneBoard, _models: Models) -> None:
    board.being_declared([LANE])


def refuse(board: LaneBoard, _models: Models) -> None:
    board.declared({LANE.queue: BrokerError("forbidden")})


def lose(board: LaneBoard, _models: Models) -> None:
    board.lost(LANE.queue, "deleted")


def end_connections(board: LaneBoard, _models: Models) -> None:
    board.broken(LANE, "541 noproc")


def stop_ollama(board: LaneBoard, _models: Models) -> None:
    board.ollama_is(DOWN)


def remove_model(board: LaneBoard, _models: Models) -> None:
    board.ollama_is(OllamaState(up=True, models=frozenset({OTHER.model_key})))


def break_model(_board: LaneBoard, models: Models) -> None:
    models.broken[LANE.loaded] = "it cannot be run"


def fill_model(_board: LaneBoard, models: Models) -> None:
    models.busy[LANE.loaded] = "it is busy"


@pytest.mark.parametrize(
    "happen, state, reason, told",
    [
        (disconnect, LaneState.DISCONNECTED, "no connection: gone", UNDECIDED),
        (declare, LaneState.BEING_DECLARED, "being declared", UNDECIDED),
        (refuse, LaneState.REFUSED, "forbidden.", "lane_refused"),
        (lose, LaneState.REFUSED, "deleted", "lane_refused"),
        (end_connections, LaneState.BROKEN, "541 noproc", "lane_refused"),
        (stop_ollama, LaneState.OLLAMA_DOWN, DOWN.why_down, "ollama_unavailable"),
        (remove_model, LaneState.MODEL_MISSING, "Ollama does not have the model M:1", "model_not_loaded"),
        (break_model, LaneState.MODEL_BROKEN, "it cannot be run", "model_broken"),
        (fill_model, LaneState.MODEL_BUSY, "it is busy", NO_TROUBLE),
    ],
)
def test_status_after_one_trouble_is_that_trouble(
    board: LaneBoard,
    models: Models,
    happen: Callable[[LaneBoard, Models], None],
    state: LaneState,
    reason: str,
    told: Any,
) -> None:
    assert board.serveable() == [LANE.queue, OTHER.queue]
    happen(board, models)
    status = board.status(LANE.queue)
    assert (status.state, status.reason) == (state, reason)
    assert LANE.queue not in board.serveable()
    assert board.reasons()[reason] >= 1
    assert board.registry_view()[LANE] == (Trouble(told, reason) if isinstance(told, str) else told)


def test_board_with_a_lane_that_ends_connections_has_declared_the_others(board: LaneBoard) -> None:
    board.being_declared([LANE, OTHER])
    board.broken(LANE, "541 noproc")
    assert not board.all_declared
    board.declared({OTHER.queue: None})
    assert board.all_declared


@pytest.mark.parametrize("which, state", [("broken", LaneState.MODEL_BROKEN), ("busy", LaneState.MODEL_BUSY)])
def test_status_of_a_model_with_a_large_context_window_is_not_that_of_a_small_one(
    models: Models, which: str, state: LaneState
) -> None:
    small, large = (lane_settings(style="shared", context_window=window) for window in (4096, 131072))
    board = LaneBoard([small, large], lambda key: models.broken.get(key, ""), lambda key: models.busy.get(key, ""))
    board.ollama_is(OllamaState(up=True, models=frozenset({small.model_key})))
    getattr(models, which)[large.loaded] = "no memory"
    assert board.status(large.queue).state is state
    assert board.serveable() == [small.queue]
    assert (board.is_degraded(large.queue), board.is_degraded(small.queue)) == (which == "broken", False)


def test_status_with_several_troubles_is_the_one_of_the_broker(board: LaneBoard, models: Models) -> None:
    for happen in (break_model, fill_model, stop_ollama, refuse):
        happen(board, models)
    assert board.status(LANE.queue).state is LaneState.REFUSED
    assert board.is_degraded(LANE.queue) and not board.is_degraded(OTHER.queue)


def test_status_before_ollama_has_answered_is_unknown_and_undecided_for_the_registry() -> None:
    board = LaneBoard([LANE], lambda _key: "", lambda _key: "")
    assert board.status(LANE.queue).state is LaneState.OLLAMA_UNKNOWN
    assert board.registry_view() == {LANE: UNDECIDED} and not board.ollama_is_up
    board.declared({LANE.queue: BrokerError("forbidden")})
    assert board.registry_view() == {LANE: UNDECIDED}


def test_declared_names_what_is_done_and_what_is_refused_and_passes_over_lanes_that_went(board: LaneBoard) -> None:
    board.being_declared([LANE, OTHER])
    error = BrokerError("forbidden")
    assert board.declared({LANE.queue: None, OTHER.queue: error, "gone": error}) == (
        [LANE.queue],
        {OTHER.queue: error},
    )
    assert board.serveable() == [LANE.queue] and not board.all_declared
    board.declared({OTHER.queue: None})
    assert board.all_declared


def test_lost_twice_is_news_once_and_of_a_lane_that_went_never(board: LaneBoard) -> None:
    assert board.lost(LANE.queue, "deleted")
    assert not board.lost(LANE.queue, "deleted again")
    assert not board.lost("gone", "deleted")
    assert board.status(LANE.queue).reason == "deleted"


def test_assign_names_new_lanes_and_those_that_went_and_forgets_their_refusals(board: LaneBoard) -> None:
    new = lane_settings("generate", "m:1")
    board.lost(OTHER.queue, "deleted")
    assert board.assign([LANE, new]) == ([new], [OTHER])
    assert list(board.lanes) == [LANE.queue, new.queue]
    assert board.all_declared
