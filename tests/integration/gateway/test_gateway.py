# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway besides carrying: keys, fair order, disconnects, and errors for missing parts."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
import yaml
from fleet_gateway.settings.keys import new_key
from fleet_parts import (
    CHAT_MODEL,
    ScriptedOllama,
    Slow,
    WorkerProcess,
    answer,
    configuration,
    eventually,
    set_up_broker,
)
from gateway_parts import LANES, SOURCES, Connection, GatewayProcess

CHAT = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": False}
STREAM = {**CHAT, "stream": True}
KEY, HASH = new_key()
OTHER, OTHER_HASH = new_key()

Start = Callable[..., Any]


def together(number: int, ask: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(ask, range(number)))


# Keys.


def test_keys_changed_in_their_file_are_used_at_once(scripted: ScriptedOllama, work: Start, front: Start) -> None:
    work(scripted.url)
    gateway = front(keys=[{"name": "alice", "hash": HASH}]).wait_ready()
    assert gateway.ask("/api/chat", CHAT).status == 401
    assert gateway.ask("/v1/models").status == 401
    assert gateway.ask("/v1/chat/completions", CHAT, key="flg_wrong").document["error"]["code"] == "unknown_key"
    assert gateway.ask("/api/chat", CHAT, key=KEY).status == 200
    assert gateway.ask("/api/chat", CHAT, x_api_key=KEY).status == 200
    gateway.write_keys([{"name": "alice", "hash": HASH, "models": ["other*"]}, {"name": "bob", "hash": OTHER_HASH}])
    eventually(lambda: gateway.ask("/api/chat", CHAT, key=OTHER).status == 200, "the new key to be taken", 10)
    refused = gateway.ask("/v1/messages", CHAT, key=KEY)
    assert (refused.status, refused.document["error"]["type"]) == (403, "permission_error")
    assert gateway.ask("/api/tags", key=KEY).document == {"models": []}
    gateway.write_keys([{"name": "broken"}])
    eventually(lambda: "keys_refused" in gateway.log, "the complaint about the keys", 10)
    assert gateway.ask("/api/chat", CHAT, key=OTHER).status == 200
    assert KEY not in gateway.log and OTHER not in gateway.log


def test_limits_of_a_key_refuse_with_the_time_of_the_next_try(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    scripted.behave = slow = Slow(60)
    work(scripted.url)
    gateway = front(
        keys=[
            {"name": "one", "hash": HASH, "concurrent": 1},
            {"name": "few", "hash": OTHER_HASH, "per_minute": 2, "tokens_per_day": 1000},
        ]
    ).wait_ready()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.ask, "/api/chat", CHAT, key=KEY)
        slow.wait_for(1)
        second = gateway.ask("/v1/chat/completions", CHAT, key=KEY)
        assert (second.status, second.headers["Retry-After"]) == (429, "1")
        assert second.document["error"]["type"] == "rate_limit_error"
        slow.go_on.set()
        assert first.result().status == 200
    assert gateway.ask("/api/chat", CHAT, key=KEY).status == 200
    statuses = [gateway.ask("/api/chat", CHAT, key=OTHER) for _number in range(3)]
    assert [one.status for one in statuses] == [200, 200, 429]
    assert 30 < int(statuses[2].headers["Retry-After"]) <= 60
    printed = subprocess.run(
        gateway.command("usage", "--json"), env=gateway.environment, check=True, stdout=subprocess.PIPE
    ).stdout
    used = {row["key"]: (row["requests"], row["input_tokens"], row["output_tokens"]) for row in json.loads(printed)}
    assert used == {"one": (2, 6, 4), "few": (2, 6, 4)}


def test_usage_survives_a_gateway_that_is_killed(scripted: ScriptedOllama, work: Start, front: Start) -> None:
    work(scripted.url)
    gateway = front().wait_ready()
    for _number in range(5):
        assert gateway.ask("/api/chat", CHAT).status == 200
    gateway.process.kill()
    gateway.process.wait()
    printed = subprocess.run(
        gateway.command("usage", "--json"), env=gateway.environment, check=True, stdout=subprocess.PIPE
    ).stdout
    assert [row["requests"] for row in json.loads(printed)] == [5]


# Turns.


def test_key_with_many_requests_delays_another_key_by_two_at_most(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    step = threading.Semaphore(0)
    order: list[Any] = []

    def behave(path: str, body: dict[str, Any]) -> Any:
        order.append(body["x"])
        assert step.acquire(timeout=60)
        return answer(path, body)

    scripted.behave = behave
    work(scripted.url, concurrency=1)
    gateway = front(keys=[{"name": "crowd", "hash": HASH}, {"name": "single", "hash": OTHER_HASH}]).wait_ready()
    with ThreadPoolExecutor(64) as pool:
        crowd = [pool.submit(gateway.ask, "/api/chat", {**CHAT, "x": number}, key=KEY) for number in range(50)]
        eventually(lambda: sum(lane["waiting"] for lane in gateway.status()["lanes"]) == 48, "the crowd to wait")
        single = pool.submit(gateway.ask, "/api/chat", {**CHAT, "x": "single"}, key=OTHER)
        eventually(lambda: sum(lane["waiting"] for lane in gateway.status()["lanes"]) == 49, "one more to wait")
        for _number in range(51):
            step.release()
        assert single.result().status == 200
        assert {one.result().status for one in crowd} == {200}
    # One was at Ollama, and one at hand for it.
    assert order.index("single") <= 2


def test_requests_beyond_the_limit_of_waiting_ones_are_refused(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    scripted.behave = slow = Slow(60)
    work(scripted.url, concurrency=1)
    gateway = front(limits={"waiting": 2}).wait_ready()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(gateway.ask, "/api/chat", CHAT) for _number in range(6)]
        eventually(lambda: sum(one.done() for one in asked) == 2, "two refusals")
        refused = [one.result() for one in asked if one.done()]
        assert {one.status for one in refused} == {429}
        assert all(int(one.headers["Retry-After"]) >= 1 for one in refused)
        slow.go_on.set()
        assert sorted(one.result().status for one in asked) == [200] * 4 + [429] * 2


# Streams and hang-ups.


def test_stream_is_sent_while_the_node_works(stepwise: Any, scripted: Any, work: Start, front: Start) -> None:
    work(scripted.url)
    gateway = front().wait_ready()
    client = Connection(gateway).post("/api/chat", STREAM)
    client.read_until(b'"one"')
    stepwise.step.release()
    client.read_until(b'"two"')
    stepwise.step.release()
    client.read_until(b'"three"')
    stepwise.step.release()
    client.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
def test_client_that_disconnects_ends_the_inference_within_a_second(
    ollama: Any, work: Start, front: Start, body: Any
) -> None:
    worker = work(ollama.url, concurrency=1)
    gateway = front().wait_ready()
    client = Connection(gateway).post("/api/chat", {**body, "options": {"num_predict": 100_000, "temperature": 2}})
    eventually(lambda: worker.status()["in_flight"], "the request to be at Ollama")
    if body["stream"]:
        client.read_until(b"content")
    begun = time.monotonic()
    client.hang_up()
    eventually(lambda: not worker.status()["in_flight"], "the end of the inference", 5)
    assert time.monotonic() - begun < 1.0
    assert worker.status()["counters"]["outcome:requester_gone"] == 1
    assert gateway.status()["lanes"][0]["running"] == 0


def test_client_that_disconnects_while_it_waits_reaches_no_node(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    scripted.behave = slow = Slow(60)
    work(scripted.url, concurrency=1)
    gateway = front().wait_ready()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.ask, "/api/chat", {**CHAT, "x": 0})
        slow.wait_for(1)
        clients = [Connection(gateway).post("/api/chat", {**CHAT, "x": number}) for number in range(1, 5)]
        eventually(lambda: sum(lane["waiting"] for lane in gateway.status()["lanes"]) == 3, "three to wait")
        for client in clients:
            client.hang_up()
        eventually(lambda: sum(lane["waiting"] for lane in gateway.status()["lanes"]) == 0, "nobody to wait")
        eventually(lambda: gateway.status()["lanes"][0]["running"] == 1, "the one that is out to be taken back")
        time.sleep(1.0)  # it is in the queue of the node, whose worker hears of the cancellation within a second
        slow.go_on.set()
        assert first.result().status == 200
    assert gateway.ask("/api/chat", {**CHAT, "x": "last"}).status == 200
    assert [body["x"] for _path, body in scripted.calls] == [0, "last"]


# Rights at the broker.


def test_permissions_of_the_broker_role_are_enough(fleet_broker: Any, ollama: Any, work: Start, tmp_path: Path) -> None:
    worker = work(ollama.url, concurrency=1)
    given = yaml.safe_load((SOURCES.parents[1] / "fleet_broker" / "vars" / "main.yml").read_text())[
        "__fleet_broker_gateway"
    ]
    rights = [given[right] for right in ("configure", "write", "read")]
    fleet_broker.ctl("add_user", "gateway", "gateway-password")
    fleet_broker.ctl("set_permissions", "gateway", *rights)
    user = SimpleNamespace(
        host=fleet_broker.host, port=fleet_broker.port, username="gateway", password="gateway-password"
    )
    gateway = GatewayProcess(tmp_path / "gateway", user)
    try:
        gateway.wait_ready()
        assert gateway.ask("/api/chat", {**CHAT, "options": {"num_predict": 4}}).status == 200
        client = Connection(gateway).post("/api/chat", {**STREAM, "options": {"num_predict": 100_000}})
        client.read_until(b"content")
        client.hang_up()
        eventually(lambda: not worker.status()["in_flight"], "the end of the inference", 5)
        assert "cannot" not in gateway.log
    finally:
        gateway.close()
        fleet_broker.ctl("delete_user", "gateway")


# What is gone.


def test_worker_that_dies_before_the_first_byte_is_replaced_unnoticed(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    scripted.behave = slow = Slow(60)
    worker = work(scripted.url)
    gateway = front().wait_ready()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.ask, "/v1/chat/completions", CHAT)
        slow.wait_for(1)
        slow.go_on.set()
        scripted.behave = answer
        worker.kill()
        work(scripted.url, node="gpu-02")
        assert asked.result().status == 200


def test_worker_that_dies_in_the_middle_ends_the_stream_with_an_error(
    stepwise: Any, scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    worker = work(scripted.url)
    gateway = front().wait_ready()
    client = Connection(gateway).post("/api/chat", STREAM)
    client.read_until(b'"one"')
    worker.kill()
    work(scripted.url, node="gpu-02")
    assert b'\r\n{"error": "The answer is not complete' in client.read_until(b"0\r\n\r\n")


def test_broker_that_is_lost_is_reported_and_reconnected_to(
    fresh_broker: Any, scripted: ScriptedOllama, tmp_path: Any
) -> None:
    set_up_broker(fresh_broker)
    (tmp_path / "worker").mkdir()
    settings = configuration(fresh_broker, scripted.url, lanes=LANES, registry={"heartbeat_interval": 1})
    worker = WorkerProcess(tmp_path / "worker", settings, password=fresh_broker.password)
    gateway = GatewayProcess(tmp_path / "gateway", fresh_broker)
    try:
        worker.wait_ready()
        gateway.wait_ready()
        assert gateway.ask("/api/chat", CHAT).status == 200
        scripted.behave = slow = Slow(60)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(gateway.ask, "/api/chat", CHAT)
            slow.wait_for(1)
            fresh_broker.kill()
            assert (asked.result().status, asked.result().headers["Retry-After"]) == (503, "2")
        slow.go_on.set()
        scripted.behave = answer
        assert gateway.ask("/readyz").status == 503
        assert gateway.ask("/healthz").status == 200
        assert gateway.ask("/api/chat", CHAT).status == 503
        fresh_broker.start()
        eventually(lambda: gateway.ask("/api/chat", CHAT).status == 200, "an answer again", 60)
    finally:
        gateway.close()
        worker.close()


def test_drain_answers_running_requests_and_takes_no_more(scripted: ScriptedOllama, work: Start, front: Start) -> None:
    scripted.behave = slow = Slow(60)
    work(scripted.url)
    gateway = front().wait_ready()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.ask, "/api/chat", CHAT)
        slow.wait_for(1)
        gateway.process.terminate()
        eventually(lambda: "draining" in gateway.log, "the drain")
        slow.go_on.set()
        assert asked.result().status == 200
    assert gateway.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        Connection(gateway)


# Clients that hurt.


def test_unservable_requests_are_refused_in_the_format_of_their_interface(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    work(scripted.url)
    gateway = front(limits={"body_bytes": 10_000}).wait_ready()
    deep = b'{"model":"smollm2:135m","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
    for body, status in [
        (b"", 400),
        (b"no JSON", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe\x00", 400),
        ({"messages": []}, 400),
        ({**CHAT, "model": 7}, 400),
        ({**CHAT, "model": "   "}, 400),
        ({**CHAT, "MODEL": "other"}, 400),
        ({**CHAT, "messages": "x" * 20_000}, 413),
        (deep, 413 if len(deep) > 10_000 else 400),
    ]:
        answered = gateway.ask("/v1/chat/completions", body)
        assert answered.status == status, body
        assert answered.document["error"]["message"]
    assert scripted.calls == []
    assert gateway.ask("/api/chat", CHAT).status == 200
    assert gateway.ask("/nothing").status == 404
    assert gateway.ask("/api/chat").status == 405


def test_client_that_sends_slowly_is_disconnected(scripted: ScriptedOllama, work: Start, front: Start) -> None:
    work(scripted.url)
    gateway = front(limits={"head_seconds": 1, "body_seconds": 1}).wait_ready()
    head = Connection(gateway)
    head.socket.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n")
    body = Connection(gateway)
    body.socket.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    second = Connection(gateway).post("/api/chat", CHAT)
    second.read_until(b"Good morning")
    second.socket.sendall(b"POST /api/chat HTTP/1.1\r\n")
    begun = time.monotonic()
    assert b"408" in body.read_to_end()
    for client in (head, second):
        with contextlib.suppress(ConnectionResetError):
            assert client.read_to_end() == b""
    assert time.monotonic() - begun < 5
    assert gateway.ask("/api/chat", CHAT).status == 200


def test_client_that_reads_nothing_loses_only_its_own_request(
    scripted: ScriptedOllama, work: Start, front: Start
) -> None:
    def lines() -> Any:
        for _number in range(400):
            yield {"message": {"content": "x" * 65536}, "done": False}
        yield {"message": {"content": ""}, "done": True}

    scripted.behave = lambda path, body: (200, lines()) if body.get("stream") else answer(path, body)
    worker = work(scripted.url)
    gateway = front(limits={"unread_bytes": 1024 * 1024, "unread_seconds": 2}).wait_ready()
    client = Connection(gateway).post("/api/chat", STREAM)
    client.read_until(b"xxx")
    eventually(lambda: not worker.status()["in_flight"], "the end of the work for nobody", 30)
    assert gateway.ask("/api/chat", CHAT).status == 200
    client.socket.close()


def test_metrics_and_status_need_no_key_and_answer_only_this_machine(front: Start) -> None:
    gateway = front(keys=[])
    eventually(lambda: gateway.process.poll() is not None or _up(gateway), "the gateway to listen")
    assert gateway.ask("/healthz").status == 200
    assert b"fleet_gateway_connected" in gateway.ask("/metrics").body
    assert "no node" in gateway.status()["reason"] or not gateway.status()["connected"]
    done = subprocess.run(
        gateway.command("status"), env=gateway.environment, check=False, capture_output=True, text=True
    )
    assert (done.returncode, "not ready" in done.stdout) == (3, True)


def _up(gateway: Any) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
