# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settlement of a delivery: at most one command, and none on a closed channel."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from fleet_worker.domain.settlement import Settlement

from ..deliveries import Channel

WAYS = [
    (Settlement.ack, ("ack", 7)),
    (Settlement.reject, ("reject", 7, False)),
    (Settlement.requeue, ("nack", 7, True)),
]


@pytest.mark.parametrize("settle, command", WAYS)
def test_settlement_of_an_open_delivery_sends_one_command_with_its_tag(
    settle: Callable[[Settlement], bool], command: tuple[Any, ...]
) -> None:
    channel = Channel()
    settlement = Settlement(channel, 7)
    assert settlement.is_open
    assert settle(settlement)
    assert channel.settled == [command] and not settlement.is_open


@pytest.mark.parametrize("again", [way for way, _command in WAYS])
@pytest.mark.parametrize("first", [way for way, _command in WAYS])
def test_settlement_a_second_time_sends_nothing(
    first: Callable[[Settlement], bool], again: Callable[[Settlement], bool]
) -> None:
    channel = Channel()
    settlement = Settlement(channel, 7)
    first(settlement)
    assert not again(settlement)
    assert len(channel.settled) == 1


@pytest.mark.parametrize("settle", [way for way, _command in WAYS])
def test_settlement_after_the_loss_of_its_channel_sends_nothing(settle: Callable[[Settlement], bool]) -> None:
    channel = Channel()
    settlement = Settlement(channel, 7)
    channel.is_open = False
    assert not settlement.is_open
    assert not settle(settlement)
    assert channel.settled == []


def test_settlement_whose_command_raises_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker may have the command, and closes the channel for a tag that is unknown to it."""

    def broken(_tag: int) -> None:
        raise OSError("cut")

    channel = Channel()
    settlement = Settlement(channel, 7)
    with monkeypatch.context() as patch:
        patch.setattr(channel, "basic_ack", broken)
        with pytest.raises(OSError, match="cut"):
            settlement.ack()
    assert not settlement.requeue() and channel.settled == []
