# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node a turn goes to: its home, unless that is full or has just not taken one."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from fleet_gateway.domain.fleet_view import OwnLane
from fleet_gateway.domain.homes import HOME, LANE, NEXT, REST, Homes, Place
from hypothesis import given
from hypothesis import strategies as st


def lanes(*nodes: str, slots: int = 2) -> list[OwnLane]:
    return [OwnLane(node, f"queue-of-{node}", slots) for node in nodes]


def chosen(homes: Homes, conversation: bytes, among: list[OwnLane]) -> Place:
    place = homes.choose(lambda: conversation, among)
    assert place is not None
    return place


def test_choose_among_one_node_or_without_a_conversation_is_all_the_same() -> None:
    homes = Homes()
    assert homes.choose(lambda: 1 / 0, lanes("a")) is None  # type: ignore[arg-type,return-value]
    assert homes.choose(lambda: b"c", []) is None
    assert homes.choose(lambda: None, lanes("a", "b")) is None


def test_choose_gives_each_node_its_share_and_always_the_same() -> None:
    homes = Homes()
    nodes = lanes("a", "b", "c", "d")
    found = Counter(chosen(homes, b"%d" % number, nodes).home for number in range(2000))
    assert all(400 < found[node] < 600 for node in "abcd"), found
    assert chosen(homes, b"7", nodes) == chosen(Homes(), b"7", list(reversed(nodes)))


def test_choose_after_a_node_has_gone_moves_its_conversations_alone() -> None:
    homes = Homes()
    before = {number: chosen(homes, b"%d" % number, lanes("a", "b", "c")).home for number in range(300)}
    after = {number: chosen(homes, b"%d" % number, lanes("a", "c")).home for number in range(300)}
    assert {number for number in before if before[number] != after[number]} == {
        number for number, node in before.items() if node == "b"
    }


def test_choose_with_a_full_home_is_the_next_node_and_then_the_lane_of_all() -> None:
    homes = Homes()
    nodes = lanes("a", "b", slots=1)
    with ExitStack() as out:
        first = chosen(homes, b"c", nodes)
        out.enter_context(homes.turn(first))
        second = chosen(homes, b"c", nodes)
        out.enter_context(homes.turn(second))
        third = chosen(homes, b"c", nodes)
        out.enter_context(homes.turn(third))
        assert first.lane is not None and second.lane is not None
        assert (first.lane.node, second.home, third.home) == (first.home, first.home, first.home)
        assert second.lane.node != first.home
        assert third.lane is None
    again = chosen(homes, b"c", nodes)
    assert again == first


def test_choose_after_a_turn_in_vain_lets_the_node_rest_for_a_while() -> None:
    now = [100.0]
    homes = Homes(lambda: now[0])
    nodes = lanes("a", "b")
    place = chosen(homes, b"c", nodes)
    homes.answered(place, place.home)
    assert chosen(homes, b"c", nodes) == place
    other = next(one.node for one in nodes if one.node != place.home)
    homes.answered(place, other)
    moved = chosen(homes, b"c", nodes)
    assert moved.lane is not None and (moved.home, moved.lane.node) == (place.home, other)
    now[0] += REST
    assert chosen(homes, b"c", nodes) == place


def test_answered_without_a_node_blames_nobody() -> None:
    homes = Homes()
    place = chosen(homes, b"c", lanes("a", "b"))
    homes.answered(place, None)
    homes.answered(Place("a", None), "b")
    assert chosen(homes, b"c", lanes("a", "b")) == place


def test_kept_by_tells_the_place_that_a_turn_has_got() -> None:
    (own, other) = lanes("a", "b")
    assert Place("a", own).kept_by("a") == HOME
    assert Place("a", other).kept_by("b") == NEXT
    assert Place("a", own).kept_by("b") == LANE
    assert Place("a", None).kept_by("a") == HOME
    assert Place("a", None).kept_by(None) == LANE


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=4), st.booleans()), max_size=60), st.integers(1, 3))
def test_no_node_has_more_turns_than_slots(steps: list[tuple[bytes, bool]], slots: int) -> None:
    homes, nodes = Homes(), lanes("a", "b", "c", slots=slots)
    out: list[tuple[Place, ExitStack]] = []
    for conversation, ends in steps:
        if ends and out:
            out.pop(0)[1].close()
        place, stack = chosen(homes, conversation, nodes), ExitStack()
        stack.enter_context(homes.turn(place))
        out.append((place, stack))
        counts = Counter(one.lane.node for one, _stack in out if one.lane is not None)
        assert all(count <= slots for count in counts.values())
        free = 3 * slots - counts.total()
        assert place.lane is not None or free == 0
