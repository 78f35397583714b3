# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker restarts, dies, falls silent, raises an alarm, loses a queue or takes rights away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from fleet_parts import (
    CHAT_MODEL,
    EMBED_MODEL,
    SOURCES,
    ScriptedOllama,
    Slow,
    WorkerProcess,
    channel_to,
    eventually,
    raise_alarm,
)
from fleet_worker._fleet.lanes import lane
from wire import Wire

from .requesters import Asker

CHAT = lane("chat", CHAT_MODEL).queue
Start = Callable[..., WorkerProcess]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_broker_restart_with_requests_in_flight_loses_none(
    how: str, own_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(120)
    worker = start(own_broker, scripted.url).wait_ready()
    asker = Asker(own_broker, CHAT)
    asker.ask()
    slow.wait_for()
    if how == "kill":
        # A quorum queue of RabbitMQ 4.0.5 that is less than a second old when the broker is killed comes back without
        # a leader, and for good (its Raft server stays a follower that never votes); one of 6 seconds comes back whole.
        time.sleep(6)
    getattr(own_broker, how)()
    worker.wait_log("event=connection_lost")
    assert worker.process.poll() is None
    slow.go_on.set()
    worker.wait_log("reply=lost")
    own_broker.start()
    eventually(lambda: worker.log.count("event=connected") >= 2, "connected again", 60, worker)
    asker.wait(within=60)
    properties, body = asker.only()
    assert body["message"]["content"] == "Good morning."
    assert properties.headers["x-legion-fleet-redelivered"] >= 1
    assert len(scripted.calls) == 1, "the answer was kept, not worked out again"
    asker.ask()
    asker.wait()


def test_heartbeats_continue_during_a_long_inference(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(14)
    worker = start(shared_broker, scripted.url, concurrency=1, broker_heartbeat=5).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    asker.wait(within=40)
    assert slow.seconds > 2 * 5
    assert "x-legion-fleet-redelivered" not in asker.only()[0].headers
    assert "connection_lost" not in worker.log
    assert worker.status()["counters"]["connections"] == 1


@pytest.fixture
def wire(shared_broker: Any) -> Iterator[Wire]:
    made = Wire(shared_broker.host, shared_broker.port)
    yield made
    made.close()


@pytest.mark.parametrize("stage", ["idle", "working", "answering"])
def test_connection_that_falls_silent_is_replaced(
    stage: str, shared_broker: Any, scripted: ScriptedOllama, start: Start, wire: Wire
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(
        shared_broker, scripted.url, broker_addresses=[f"127.0.0.1:{wire.port}"], broker_heartbeat=5
    ).wait_ready()
    asker = Asker(shared_broker, CHAT)
    if stage == "idle":
        wire.cut()
        asker.ask()
        slow.go_on.set()
    else:
        asker.ask()
        slow.wait_for()
        wire.cut()
        if stage == "answering":
            slow.go_on.set()
            time.sleep(0.5)
    worker.wait_log("event=connection_lost", within=40)
    slow.go_on.set()
    asker.wait(within=60)
    assert asker.only()[1]["message"]["content"] == "Good morning."
    assert len(scripted.calls) == 1
    eventually(lambda: not worker.status()["in_flight"], "nothing is left over")


# From here on one broker is lent to what is not tried with both series, which pytest then runs together.


def test_request_that_runs_through_a_restart_is_joined_by_its_redelivery(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(120)
    worker = start(lent_broker, scripted.url).wait_ready()
    asker = Asker(lent_broker, CHAT)
    asker.ask()
    slow.wait_for()
    lent_broker.ctl("close_all_connections", "test")
    eventually(lambda: worker.status()["counters"].get("joined") == 1, "the redelivery has joined", 60, worker)
    slow.go_on.set()
    asker.wait()
    assert len(asker.only()) == 2
    assert len(scripted.calls) == 1


def test_alarm_delays_answers_and_loses_none(lent_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(lent_broker, scripted.url, concurrency=1).wait_ready()
    asker = Asker(lent_broker, CHAT)
    for _number in range(3):
        asker.ask()
    slow.wait_for()
    try:
        raise_alarm(lent_broker)
        slow.go_on.set()
        worker.wait_log("event=broker_blocked")
        assert "the broker has an alarm" in eventually(
            lambda: worker.status()["summary"] if "alarm" in worker.status()["summary"] else "", "it in the status"
        )
        time.sleep(1)
        assert len(scripted.calls) <= 2, "nothing is begun whose answer could not be sent"
    finally:
        lent_broker.ctl("set_vm_memory_high_watermark", "0.6")
    worker.wait_log("event=broker_unblocked")
    asker.wait()
    assert all(len(answers) == 1 for answers in asker.answers.values())
    assert "connection_lost" not in worker.log


def test_deleted_queue_is_declared_again(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    with channel_to(shared_broker) as channel:
        channel.queue_delete(CHAT)
    assert CHAT in worker.wait_log("event=lane_lost")
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "consumed again")
    asker.ask()
    asker.wait()


@pytest.mark.every_version
def test_deleted_queue_loses_only_its_waiting_requests(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(shared_broker, scripted.url, concurrency=1).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    asker.ask()
    asker.ask()
    with channel_to(shared_broker) as channel:
        channel.queue_delete(CHAT)
    assert "its waiting requests" in worker.wait_log("event=lane_lost")
    slow.go_on.set()
    asker.wait(1)
    assert asker.asked[0] in asker.answers
    asker.record.give_up(*asker.asked[1:])
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "declared again")
    last = asker.ask()
    eventually(lambda: _collected(asker, last), "an answer", 20)
    assert worker.status()["counters"]["connections"] == 1


def _leader(broker: Any, queue: str, act: str) -> None:
    """Have Erlang call a function of Ra with the server that leads a queue."""
    found = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))'
    assert "ok" in broker.ctl("eval", f"{found}, ra:{act}(quorum_queues, amqqueue:get_pid(Q)).")


@pytest.mark.every_version
def test_queue_without_a_leader_process_costs_its_own_lane_only(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """RabbitMQ declares such a queue, and ends the connection at a get."""
    worker = start(shared_broker, scripted.url).wait_ready()
    embed = lane("embed", EMBED_MODEL).queue
    chat = Asker(shared_broker, CHAT)
    _leader(shared_broker, embed, "stop_server")
    try:
        shared_broker.ctl("close_all_connections", "test")
        assert "541" in worker.wait_log("event=lane_broken")
        for _number in range(3):
            chat.ask()
        chat.wait(within=30)
        reasons = {one["queue"]: one["reason"] for one in worker.status()["lanes"]}
        assert not reasons[CHAT] and f"queue '{embed}'" in reasons[embed]
    finally:
        _leader(shared_broker, embed, "restart_server")
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "served again", 90, worker)
    asker = Asker(shared_broker, embed)
    asker.ask(input="Hello")
    asker.wait()
    assert worker.status()["counters"]["connections"] <= 6, "each try costs a connection, and there are few"


def _collected(asker: Asker, correlation_id: str) -> bool:
    asker._with_channel(asker._collect)
    return correlation_id in asker.answers


def test_revoked_permissions_pause_the_lanes_until_they_return(
    lent_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    # Half a minute on a real worker, which would tell no more.
    (tmp_path / "sitecustomize.py").write_text("from fleet_worker.worker import worker\nworker.RETRY_LANE = 3.0\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCES)])}
    worker = start(lent_broker, scripted.url, environment=environment).wait_ready()
    lent_broker.ctl("set_permissions", lent_broker.username, "^$", "^$", "^$")
    lent_broker.ctl("close_all_connections", "rights")
    assert "denies access to the user 'lab'" in worker.wait_log("event=lane_refused", within=60)
    assert worker.process.poll() is None
    eventually(lambda: {one["state"] for one in worker.status()["lanes"]} == {"paused"}, "paused, and said so")
    lent_broker.ctl("set_permissions", lent_broker.username, ".*", ".*", ".*")
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "served again", 90, worker)
    asker = Asker(lent_broker, CHAT)
    asker.ask()
    asker.wait()


def test_revoked_permissions_are_logged_and_requests_continue_after_their_return(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(lent_broker, scripted.url).wait_ready()
    asker = Asker(lent_broker, CHAT)
    asker.ask()
    slow.wait_for()
    lent_broker.ctl("set_permissions", lent_broker.username, ".*", "^$", ".*")
    time.sleep(0.5)
    slow.go_on.set()
    assert "denies access to the user 'lab'" in worker.wait_log("event=cannot_answer")
    assert worker.process.poll() is None
    lent_broker.ctl("set_permissions", lent_broker.username, ".*", ".*", ".*")
    asker.wait(within=60)
    assert len(scripted.calls) == 1


def test_changed_password_is_logged_and_retried(lent_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(lent_broker, scripted.url).wait_ready()
    lent_broker.ctl("change_password", lent_broker.username, "another")
    lent_broker.ctl("close_all_connections", "rotation")
    assert "refuses the login of the user 'lab'" in worker.wait_log("event=cannot_connect")
    assert worker.process.poll() is None
    lent_broker.ctl("change_password", lent_broker.username, lent_broker.password)
    eventually(lambda: worker.log.count("event=connected") >= 2, "connected again", 60, worker)
    asker = Asker(lent_broker, CHAT)
    asker.ask()
    asker.wait()


def test_second_address_replaces_a_lost_first_one(
    lent_broker: Any, scripted: ScriptedOllama, start: Start, wire_to: Any
) -> None:
    first = wire_to(lent_broker)
    addresses = [f"127.0.0.1:{first.port}", f"{lent_broker.host}:{lent_broker.port}"]
    worker = start(lent_broker, scripted.url, broker_addresses=addresses).wait_ready()
    assert worker.status()["broker"] == addresses[0]
    first.close()
    eventually(lambda: worker.log.count("event=connected") >= 2, "the second address", 60, worker)
    assert worker.status()["broker"] == addresses[1]
    asker = Asker(lent_broker, lane("embed", EMBED_MODEL).queue)
    asker.ask(input="x")
    asker.wait()


@pytest.fixture
def wire_to() -> Iterator[Callable[[Any], Wire]]:
    made: list[Wire] = []

    def making(broker: Any) -> Wire:
        made.append(Wire(broker.host, broker.port))
        return made[-1]

    yield making
    for wire in made:
        wire.close()
