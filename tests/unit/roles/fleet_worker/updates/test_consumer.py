# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed broadcasts on their way through the consumer: taken, redelivered, repeated, acknowledged."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fleet_worker._fleet.broadcasts import DONE, IMPORT, BroadcastRefusedError, NodeReport, Order, order_message
from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.messages import Message
from fleet_worker._mirror.signing.keys import PrivateKey
from fleet_worker.domain.publication import Publication
from fleet_worker.updates import consumer
from fleet_worker.updates.admission import BroadcastAdmission
from fleet_worker.updates.broadcast_record import BroadcastRecord
from fleet_worker.updates.consumer import ReceivedBroadcast

from ..manual_loop import ManualLoop

SIGNER = PrivateKey(ec.generate_private_key(ec.SECP256R1()))


class Settled:
    """A settlement that notes its outcome."""

    def __init__(self) -> None:
        self.said = ""

    def ack(self) -> None:
        self.said += "ack "

    def reject(self) -> None:
        self.said += "reject "


class Process:
    """One life of the updates of a node, without a broker and without a mirror."""

    def __init__(self, path: Path) -> None:
        self.reports: list[tuple[str, str]] = []
        self.imports = 0
        self.published: Optional[Publication] = Publication.CONFIRMED
        self.waiting: list[Callable[[], None]] = []
        self.loop = ManualLoop()
        self.forbidden = False
        record = BroadcastRecord(str(path / "broadcasts.json"))
        nothing: Any = SimpleNamespace(status=lambda _text: None)
        updates: Any = SimpleNamespace(check=self._check, carry_out=self._carry_out)
        pool: Any = SimpleNamespace(submit=self.waiting.append)
        self.consumer = consumer.BroadcastConsumer(
            self.loop,
            consumer.BroadcastSettings(BrokerSettings((Address("hub", 1),)), "gpu-01", "lex.ollama", ("llm.*",)),
            admission=BroadcastAdmission("gpu-01", "enforce", SIGNER.ring, record),
            updates=updates,
            pool=pool,
            notifier=nothing,
            watchdog=nothing,
        )
        self.consumer._publisher = SimpleNamespace(publish=self._publish)  # type: ignore[assignment]
        self.consumer._outcomes = SimpleNamespace(publish=lambda *_what: None)  # type: ignore[assignment]

    def _check(self, _order: Order) -> None:
        if self.forbidden:
            raise BroadcastRefusedError("The model is not one that gpu-01 may import")

    def _carry_out(self, _order: Order) -> NodeReport:
        self.imports += 1
        return NodeReport("gpu-01", DONE)

    def _publish(self, reply: Any, done: Callable[[Any], None]) -> None:
        body = json.loads(reply.message.body)
        self.reports.append((body["state"], body["error"].get("code", "")))
        done(self.published)

    def take(self, message: Message, count: int = 0) -> Settled:
        settled: Any = Settled()
        self.consumer._take(ReceivedBroadcast(message, count, [settled]))
        return settled  # type: ignore[no-any-return]

    def work(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()
        self.loop.turn()


def broadcast(**others: Any) -> Message:
    return order_message(Order(IMPORT, "llama3:8b", **others), "c-1", "llm.fleet.reply.x", 600, SIGNER)


def test_copy_of_a_broadcast_under_way_is_refused_and_costs_it_nothing(tmp_path: Path) -> None:
    process, message = Process(tmp_path), broadcast()
    first = process.take(message)
    copy = process.take(message)
    assert (copy.said, first.said) == ("ack ", "")
    process.work()
    assert (first.said, process.imports) == ("ack ", 1)
    assert process.reports == [("accepted", ""), ("failed", "broadcast_repeated"), ("done", "")]


def test_redelivery_of_a_broadcast_under_way_joins_it(tmp_path: Path) -> None:
    process, message = Process(tmp_path), broadcast()
    first, again = process.take(message), process.take(message, 1)
    process.work()
    assert (first.said, again.said, process.imports) == ("ack ", "ack ", 1)


def test_redelivery_after_a_restart_is_carried_out(tmp_path: Path) -> None:
    message = broadcast()
    Process(tmp_path).take(message)
    process = Process(tmp_path)
    again = process.take(message, 1)
    process.work()
    assert (again.said, process.imports) == ("ack ", 1)
    assert process.reports == [("accepted", ""), ("done", "")]


def test_redelivery_after_a_report_that_was_lost_is_carried_out(tmp_path: Path) -> None:
    process, message = Process(tmp_path), broadcast()
    process.published = Publication.LOST
    first = process.take(message)
    process.work()
    process.published = Publication.CONFIRMED
    again = process.take(message, 1)
    process.work()
    assert (first.said, again.said, process.imports) == ("", "ack ", 2)


@pytest.mark.parametrize("restarted", [False, True])
def test_redelivery_after_the_last_report_is_only_acknowledged(tmp_path: Path, restarted: bool) -> None:
    process, message = Process(tmp_path), broadcast()
    process.take(message)
    process.work()
    process = Process(tmp_path) if restarted else process
    reports = len(process.reports)
    assert process.take(message, 1).said == "ack "
    process.work()
    assert len(process.reports) == reports and process.imports == (0 if restarted else 1)


def test_broadcast_that_the_node_does_not_allow_cannot_be_repeated_when_it_does(tmp_path: Path) -> None:
    process, message = Process(tmp_path), broadcast()
    process.forbidden = True
    process.take(message)
    process.forbidden = False
    process.take(message)
    process.take(message, 1)
    process.work()
    assert process.imports == 0
    assert process.reports == [("failed", "broadcast_refused"), ("failed", "broadcast_repeated")]


def test_unsigned_broadcast_is_refused_with_a_report(tmp_path: Path) -> None:
    process = Process(tmp_path)
    message = order_message(Order(IMPORT, "llama3:8b"), "c-1", "llm.fleet.reply.x", 600)
    assert process.take(message).said == "ack "
    assert process.reports == [("failed", "broadcast_unsigned")] and not process.waiting


def test_broadcast_for_other_nodes_is_neither_reported_nor_recorded(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.take(broadcast(nodes=("gpu-02",))).said == "ack "
    assert process.reports == [] and json.loads((tmp_path / "broadcasts.json").read_text())["broadcasts"] == {}
