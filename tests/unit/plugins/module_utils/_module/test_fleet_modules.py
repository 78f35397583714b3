# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet_request, fleet_info and fleet_broadcast over a broker in memory: what they send, report and refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcast_signatures import verified
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import (
    ACCEPTED,
    DONE,
    FAILED,
    NodeReport,
    report_message,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_named
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import InvalidBrokerError
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Success
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.observing import Register, RegistryEntry
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import AVAILABLE, Offering
from ansible_collections.legionio.ollama.plugins.module_utils._module import fleet_broadcast, fleet_info
from ansible_collections.legionio.ollama.plugins.module_utils._module.broker_options import (
    broker_settings,
    require_one_broker,
)
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import BROKER
from module_run import Run, run_module

from .._fleet.memory_broker import MemoryBroker
from .._mirror.signing.signed_models import KEY, RING, private_pem_of

LANE = lane("chat", "m:1")
TYPED = dialect_named("typed")
CHAT = {"type": "chat", "model": "m:1", "messages": [{"role": "user", "content": "Hello?"}]}


def run(module: str, *, check: bool = False, **options: Any) -> Run:
    return run_module(module, {"broker_host": ["hub"], **options}, check=check)


def good_morning(message: Message) -> Iterator[Message]:
    if message.properties.reply_to is not None:
        request = TYPED.read(message, json.loads(message.body), LANE)
        result = {"message": {"role": "assistant", "content": "Good morning."}, "prompt_eval_count": 3, "eval_count": 2}
        yield TYPED.write(request, Success(result, 0.0, 1.0), ReplyIdentity("gpu-01")).message


def test_request_returns_answer_node_and_usage(memory_broker: MemoryBroker, tmp_path: Path) -> None:
    memory_broker.answers = good_morning
    image = tmp_path / "x.png"
    image.write_bytes(b"png")
    result = run("fleet_request", images=[str(image)], **CHAT).result
    assert (result["content"], result["node"], result["usage"]) == (
        "Good morning.",
        "gpu-01",
        {"input_tokens": 3, "output_tokens": 2},
    )
    ((exchange, key, message),) = memory_broker.published
    assert (exchange, key) == ("llm.request", LANE.queue) and "cG5n" in message.body.decode()


def test_request_in_check_mode_only_looks_at_the_queue(memory_broker: MemoryBroker) -> None:
    assert run("fleet_request", check=True, **CHAT).result["error_code"] == "no_fleet_queue"
    memory_broker.queues[LANE.queue] = (3, 2)
    assert run("fleet_request", check=True, **CHAT).result["queue"] == {"messages": 3, "consumers": 2}
    assert memory_broker.published == []


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": "nan"},
        {"timeout": "inf"},
        {"model": ""},
        {"images": ["/gone.png"]},
        {"messages": [], "images": [__file__]},
        {"broker_host": []},
        {"broker_host": ["http://hub"]},
        {"broker_port": 0},
        {"broker_tls": False, "broker_ca_path": "/ca.pem"},
    ],
)
def test_request_options_that_make_no_sense_are_refused(memory_broker: MemoryBroker, options: dict[str, Any]) -> None:
    assert run("fleet_request", **{**CHAT, **options}).typed
    assert memory_broker.connection is None


@pytest.mark.parametrize(
    "options",
    [
        {"broker_host": ["::1"], "broker_port": 5672, "broker_username": "u", "broker_password": "p"},
        {"broker_host": ["hub"], "broker_port": 5671, "broker_vhost": "fleet"},
        {"broker_host": None, "broker_url": "amqp://u:p@hub/fleet"},
    ],
)
def test_request_reaches_the_broker_however_it_is_named(memory_broker: MemoryBroker, options: dict[str, Any]) -> None:
    memory_broker.answers = good_morning
    arguments = {
        name: value for name, value in {"broker_host": ["hub"], **CHAT, **options}.items() if value is not None
    }
    assert run_module("fleet_request", arguments).result.get("content") == "Good morning."


@pytest.mark.parametrize(
    "options, encrypted, username",
    [
        ({"broker_host": ["hub:5671", "hub-2"]}, True, "guest"),
        ({"broker_host": ["hub:5672"]}, False, "guest"),
        ({"broker_host": ["hub"], "broker_tls": True}, True, "guest"),
        ({"broker_host": ["hub:5671"], "broker_tls": False}, False, "guest"),
        ({"broker_host": ["hub"], "broker_client_cert": "c.pem"}, True, None),
        ({"broker_host": None, "broker_url": "amqps://hub", "broker_client_cert": "c.pem"}, True, None),
    ],
)
def test_settings_of_the_broker_have_tls_and_the_user_as_documented(
    options: dict[str, Any], encrypted: bool, username: Optional[str]
) -> None:
    params = {name: option.get("default") for name, option in BROKER.argument_spec.items()}
    settings = broker_settings({**params, **options})
    assert (settings.tls is not None, settings.username) == (encrypted, username)
    if encrypted:
        assert {address.port for address in settings.addresses} == {5671}


@pytest.mark.parametrize("params", [{"broker_username": "u"}, {"broker_password": "p"}, {"broker_client_key": "k.pem"}])
def test_broker_option_without_the_one_that_belongs_to_it_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidBrokerError, match="is set without broker_"):
        require_one_broker({"broker_host": ["hub"], **params})


@pytest.mark.parametrize("code", [403, 405])
def test_info_lane_that_the_broker_hides_is_unknown(memory_broker: MemoryBroker, code: int) -> None:
    """Anybody may announce any queue as a lane, the private queue of another connection too."""
    memory_broker.hidden = {LANE.queue: code}
    event = Offering(LANE, "gpu-01", 2).event(AVAILABLE).message
    memory_broker.answers = lambda message: iter([] if message.properties.reply_to else [event])
    result = run("fleet_info", listen=0.1).result
    assert [(entry["exists"], entry["consumers"]) for entry in result["lanes"]] == [(None, None)]
    assert [node["name"] for node in result["nodes"]] == ["gpu-01"]
    assert run("fleet_info", lanes=[{"type": "chat", "model": "m:1"}]).typed


def test_info_sorts_the_events_of_a_large_fleet_once(
    memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorting them for each lane takes minutes with thousands of nodes."""
    sorts = 0

    class Counting(Register):
        @property
        def latest(self) -> list[RegistryEntry]:
            nonlocal sorts
            sorts += 1
            return super().latest

    monkeypatch.setattr(fleet_info, "Register", Counting)
    events = [Offering(lane("chat", f"m{number}"), f"gpu-{number}", 2).event(AVAILABLE).message for number in range(4)]
    memory_broker.answers = lambda message: iter([] if message.properties.reply_to else events)
    result = run("fleet_info", listen=0.1, lanes=[{"type": "chat", "model": "m2"}]).result
    assert [entry["nodes"] for entry in result["lanes"]] == [["gpu-2"], ["gpu-0"], ["gpu-1"], ["gpu-3"]]
    assert sorts == 1


def test_info_reports_lanes_that_exist_and_that_do_not(memory_broker: MemoryBroker) -> None:
    memory_broker.queues[LANE.queue] = (3, 2)
    lanes = [{"type": "chat", "model": "m:1"}, {"type": "chat", "model": "n:1"}]
    result = run("fleet_info", lanes=lanes).result
    assert [(entry["exists"], entry["messages"], entry["consumers"]) for entry in result["lanes"]] == [
        (True, 3, 2),
        (False, 0, 0),
    ]
    assert result["broker"]["version"] == "4.0.5" and result["nodes"] == []
    assert run("fleet_info", listen=-1).typed
    assert run("fleet_info", listen="inf").typed


def reporting(*reports: NodeReport) -> Any:
    def answers(message: Message) -> Iterator[Message]:
        properties = message.properties
        if properties.reply_to is not None and properties.correlation_id is not None:
            for report in reports:
                yield report_message(report, properties.reply_to, properties.correlation_id).message

    return answers


def test_broadcast_reports_each_node(memory_broker: MemoryBroker) -> None:
    memory_broker.answers = reporting(
        NodeReport("gpu-01", ACCEPTED),
        NodeReport("gpu-01", DONE, {"changed": True, "before": None, "after": "sha256:a"}),
        NodeReport("gpu-02", DONE, {"changed": False, "before": "sha256:a", "after": "sha256:a"}),
    )
    outcome = run("fleet_broadcast", name="a:1", nodes=["gpu-01", "gpu-02"])
    assert outcome.changed and outcome.result["missing"] == []
    assert {node: entry["state"] for node, entry in outcome.result["nodes"].items()} == {"gpu-01": DONE, "gpu-02": DONE}
    assert outcome.result["diff"]["before"] == "gpu-01: absent\ngpu-02: sha256:a\n"


def test_broadcast_time_of_discovery_begins_when_the_broker_has_the_broadcast() -> None:
    """The broker's confirmation may take longer than the discovery."""
    reports = fleet_broadcast._Reports(None, 0.02)
    time.sleep(0.03)
    assert not reports.complete()
    time.sleep(0.03)
    assert reports.complete()


def test_broadcast_in_check_mode_asks_for_the_plan(memory_broker: MemoryBroker) -> None:
    memory_broker.answers = reporting(NodeReport("gpu-01", DONE, {"changed": True}))
    assert run("fleet_broadcast", name="a:1", nodes=["gpu-01"], check=True).changed
    assert json.loads(memory_broker.published[0][2].body)["function"] != "import"


@pytest.mark.parametrize(
    "reports, options, text",
    [
        (
            [NodeReport("gpu-01", FAILED, error={"code": "x", "message": "the disk is full"})],
            {"nodes": ["gpu-01"]},
            "full",
        ),
        ([], {"nodes": ["gpu-01"], "timeout": 0.3}, "no report in time"),
        ([], {"discovery": 0.3, "timeout": 0.6}, "No node has taken the broadcast"),
    ],
)
def test_broadcast_that_a_node_does_not_carry_out_fails(
    memory_broker: MemoryBroker, reports: list[NodeReport], options: dict[str, Any], text: str
) -> None:
    memory_broker.answers = reporting(*reports)
    outcome = run("fleet_broadcast", name="a:1", **options)
    assert outcome.result["error_code"] == "broadcast_failed" and text in outcome.result["msg"]
    assert "nodes" in outcome.result


def test_broadcast_whose_connection_is_lost_returns_the_reports_so_far(memory_broker: MemoryBroker) -> None:
    done = reporting(NodeReport("gpu-01", DONE, {"changed": True}))

    def answers(message: Message) -> Iterator[Message]:
        yield from done(message)
        connection = memory_broker.connection
        if message.properties.correlation_id is not None:
            connection.loop.call_later(0.05, lambda: connection.lose(ConnectionResetError("gone")))

    memory_broker.answers = answers
    result = run("fleet_broadcast", name="a:1", nodes=["gpu-01", "gpu-02"], timeout=60).result
    assert result["error_code"] == "broker_unreachable" and "still execute it" in result["msg"]
    assert result["changed"] and result["nodes"]["gpu-01"]["state"] == DONE and result["missing"] == ["gpu-02"]
    assert result["correlation_id"] == memory_broker.published[0][2].properties.correlation_id


def test_broadcast_failure_has_no_lines_that_a_node_has_forged(memory_broker: MemoryBroker) -> None:
    forged = "bad\x1b[2J\nPLAY RECAP: gpu-02 ok=9 \u202e" + 1000 * "A"
    memory_broker.answers = reporting(
        NodeReport("gpu-01", FAILED, error={"message": forged}), NodeReport("gpu\n02", ACCEPTED)
    )
    message = run("fleet_broadcast", name="a:1", nodes=["gpu-01"], timeout=0.3).result["msg"]
    assert "bad" in message and "no report in time" in message
    assert message.isprintable() and len(message) < 1000


def test_broadcast_with_a_key_is_signed_in_check_mode_too(memory_broker: MemoryBroker, tmp_path: Path) -> None:
    memory_broker.answers = reporting(NodeReport("gpu-01", DONE, {"changed": True}))
    (tmp_path / "signing.pem").write_bytes(private_pem_of(KEY, b"open"))
    key = {"signing_key": str(tmp_path / "signing.pem"), "signing_key_passphrase": "open"}
    for check in (False, True):
        assert run("fleet_broadcast", name="a:1", nodes=["gpu-01"], timeout=60, check=check, **key).changed
    shown = [verified(message, RING) for _exchange, _key, message in memory_broker.published]
    assert [broadcast.expires_at - broadcast.signed_at for broadcast in shown] == [60, 60]


def test_broadcast_with_a_key_that_cannot_be_read_is_not_sent(memory_broker: MemoryBroker, tmp_path: Path) -> None:
    outcome = run("fleet_broadcast", name="a:1", signing_key=str(tmp_path / "gone.pem"))
    assert outcome.result["error_code"] == "signing_key" and memory_broker.published == []


def test_broadcast_whose_copy_was_refused_ends_as_the_broadcast_itself(memory_broker: MemoryBroker) -> None:
    repeated = NodeReport("gpu-01", FAILED, error={"code": "broadcast_repeated", "message": "x"})
    reports = NodeReport("gpu-01", ACCEPTED), repeated, NodeReport("gpu-01", DONE, {"changed": True}), repeated
    memory_broker.answers = reporting(*reports)
    outcome = run("fleet_broadcast", name="a:1", nodes=["gpu-01"])
    assert outcome.result["nodes"]["gpu-01"]["state"] == DONE


@pytest.mark.parametrize(
    "second",
    [NodeReport("gpu-01", DONE, {"changed": False}), NodeReport("gpu-01", FAILED, error={"message": "no mirror"})],
)
def test_broadcast_delivered_twice_has_the_outcome_of_the_first_import(
    memory_broker: MemoryBroker, second: NodeReport
) -> None:
    first = NodeReport("gpu-01", DONE, {"changed": True, "before": None, "after": "sha256:a"})
    memory_broker.answers = reporting(first, NodeReport("gpu-01", ACCEPTED), second)
    outcome = run("fleet_broadcast", name="a:1", nodes=["gpu-01"])
    assert outcome.changed and outcome.result["diff"]["before"] == "gpu-01: absent\n"


def test_broadcast_that_every_node_refuses_as_repeated_fails(memory_broker: MemoryBroker) -> None:
    repeated = NodeReport("gpu-01", FAILED, error={"code": "broadcast_repeated", "message": "taken before"})
    memory_broker.answers = reporting(repeated)
    assert "taken before" in run("fleet_broadcast", name="a:1", nodes=["gpu-01"]).result["msg"]


@pytest.mark.parametrize(
    "options",
    [{"name": "a b"}, {"timeout": 0}, {"timeout": "nan"}, {"timeout": "inf"}, {"discovery": 0}, {"nodes": []}],
)
def test_broadcast_options_that_make_no_sense_are_refused(memory_broker: MemoryBroker, options: dict[str, Any]) -> None:
    assert run("fleet_broadcast", **{"name": "a:1", **options}).typed
    assert memory_broker.published == []
