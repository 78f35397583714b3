# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broadcasts: the module, real updaters, a real broker and a real mirror."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import pika
import pytest
import yaml
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_publish import ModelPublisher
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings
from blob_servers import SECRET, serving
from fleet_parts import ODD_TABLE, channel_to, delete_queues, eventually, raw_tables
from fleet_worker._fleet.broadcasts import IMPORT, Order, order_message
from fleet_worker._fleet.topology import updates_permissions
from fleet_worker._mirror.signing.keys import PrivateKey
from mirror_lab import Model, assert_sound, digest_of, new_bucket
from updater_parts import Signer, Updater, updates_configuration

SMALL = "smollm2:135m"
LOGIN = ("broker_host", "broker_port", "broker_username", "broker_password")


@pytest.fixture
def mirror(s3: Any) -> Mirror:
    return Mirror(new_bucket(s3))


@pytest.fixture
def model(mirror: Mirror) -> Model:
    return Model(SMALL, [os.urandom(300_000), b"template"]).publish(mirror)


@pytest.fixture
def updater(clean_broker: Any, mirror: Mirror, tmp_path: Path) -> Iterator[Callable[..., Updater]]:
    """Starts the updates of nodes, and ends them."""
    started: list[Updater] = []

    def start(node: str, **others: Any) -> Updater:
        username = others.pop("username", clean_broker.username)
        password = others.pop("password", clean_broker.password)
        settings, more = others.pop("settings", mirror.settings), others.pop("more_secrets", {})
        configuration, secrets = updates_configuration(
            clean_broker, settings, tmp_path / f"models-{node}", node=node, **others
        )
        configuration["broker"]["username"], secrets["broker-password"] = username, password
        one = Updater(tmp_path / f"updates-{len(started)}", configuration, {**secrets, **more})
        started.append(one)
        return one.wait_log("event=listening")

    yield start
    for one in started:
        one.close()
    delete_queues(clean_broker, "ollama.s3_models.")


def task(broker: Any, *flags: str, **options: Any) -> dict[str, Any]:
    """Run the module on this machine; return its result."""
    login = {name: getattr(broker, name[len("broker_") :]) for name in LOGIN}
    arguments = {**login, "name": SMALL, "timeout": 60, "discovery": 2, **options}
    command = ["ansible", "localhost", "-m", "legionio.ollama.fleet_broadcast", "-a", json.dumps(arguments)]
    done = subprocess.run(
        [*command, "-e", f"ansible_python_interpreter={sys.executable}", *flags],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("=> {") + 3 :])[0]
    assert "Traceback" not in result.get("msg", "")
    return result


def send(broker: Any, body: Any, reply_to: Optional[str] = None, **properties: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with channel_to(broker) as channel:
        channel.basic_publish(
            "lex.ollama",
            "lex.ollama.runners.s3_models.import_from_s3",
            content,
            pika.BasicProperties(reply_to=reply_to, correlation_id="c-1", **properties),
            mandatory=True,
        )


def test_broadcast_every_node_imports_and_reports(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, mirror: Mirror
) -> None:
    nodes = [updater("gpu-01"), updater("gpu-02")]
    digest = digest_of(model.raw)
    both = ["gpu-01", "gpu-02"]
    predicted = task(clean_broker, "--check", nodes=both)
    assert predicted["changed"] is True
    assert not any((node.store / "manifests").exists() for node in nodes)
    result = task(clean_broker, discovery=5)
    assert result["changed"] is True and result["missing"] == []
    for node in both:
        assert result["nodes"][node] == {
            "state": "done",
            "changed": True,
            "model": SMALL,
            "before": None,
            "after": digest,
            "blobs_downloaded": 3,
            "blobs_skipped": 0,
            "bytes": model.size,
        }
        assert predicted["nodes"][node] == result["nodes"][node]
    for one in nodes:
        assert_sound(one.store, model)
    again = task(clean_broker, nodes=both)
    assert again["changed"] is False
    assert again["nodes"]["gpu-01"]["blobs_skipped"] == 3


def test_broadcast_to_named_nodes_reaches_no_others(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    first, second = updater("gpu-01"), updater("gpu-02")
    result = task(clean_broker, nodes=["gpu-02"])
    assert list(result["nodes"]) == ["gpu-02"]
    assert_sound(second.store, model)
    assert not (first.store / "manifests").exists()


def test_broadcast_without_the_report_of_a_named_node_fails(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    updater("gpu-01")
    result = task(clean_broker, nodes=["gpu-01", "gpu-09"], timeout=8)
    assert result["error_code"] == "broadcast_failed"
    assert (result["changed"], result["missing"]) == (True, ["gpu-09"])
    assert "1 of 2 nodes did not import the model: gpu-09: no report in time" in result["msg"]


def test_broadcast_of_a_forbidden_model_is_refused(
    clean_broker: Any, updater: Callable[..., Updater], mirror: Mirror
) -> None:
    node = updater("gpu-01")
    Model("other:1", [b"x"]).publish(mirror)
    result = task(clean_broker, name="other:1", nodes=["gpu-01"])
    assert result["error_code"] == "broadcast_failed"
    assert result["nodes"]["gpu-01"]["error"]["code"] == "broadcast_refused"
    assert "not one that gpu-01 may import" in result["msg"]
    missing = task(clean_broker, name="smollm2:1.7b", nodes=["gpu-01"])
    assert missing["nodes"]["gpu-01"]["error"]["code"] == "model_missing"
    assert not (node.store / "manifests").exists()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "signer")


def test_unsigned_model_is_refused_by_a_node_that_demands_signatures(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, signer: Signer, tmp_path: Path
) -> None:
    updater("gpu-01", signatures={"policy": "enforce", "keys": signer.broadcasts["keys"]})
    error = task(clean_broker)["nodes"]["gpu-01"]["error"]
    assert error["code"] == "model_unsigned" and "enforce of *" in error["message"]
    assert not (tmp_path / "models-gpu-01" / "manifests").exists()


@contextlib.contextmanager
def overheard(broker: Any) -> Iterator[Callable[[], tuple[Any, bytes]]]:
    """Listen to broadcasts as a node does; yield a function that returns the next one."""
    with channel_to(broker) as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "lex.ollama", "lex.ollama.runners.s3_models.#")

        def get() -> Any:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            return method and (properties, body)

        yield lambda: eventually(get, "the broadcast", 60)  # type: ignore[no-any-return]


def test_broadcast_without_a_valid_signature_is_refused(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, signer: Signer, tmp_path: Path
) -> None:
    node = updater("gpu-01", broadcasts=signer.broadcasts)
    stranger = Signer(tmp_path / "stranger")
    for options, code in (
        ({}, "broadcast_unsigned"),
        ({"signing_key": str(stranger.path)}, "broadcast_signature"),
    ):
        error = task(clean_broker, nodes=["gpu-01"], **options)["nodes"]["gpu-01"]["error"]
        assert error["code"] == code
        assert "The policy enforce of gpu-01 does not let import_from_s3 of smollm2:135m pass" in error["message"]
    assert not (node.store / "manifests").exists()
    for flags in (["--check"], []):
        assert task(clean_broker, *flags, nodes=["gpu-01"], signing_key=str(signer.path))["changed"] is True
    assert_sound(node.store, model)


@pytest.mark.parametrize("field, value", [("model", "all-minilm"), ("nodes", None), ("expires_at", 1 << 33)])
def test_altered_broadcast_is_refused(
    field: str,
    value: Any,
    clean_broker: Any,
    updater: Callable[..., Updater],
    mirror: Mirror,
    model: Model,
    signer: Signer,
) -> None:
    Model("all-minilm", [b"x"]).publish(mirror)
    node = updater("gpu-01", broadcasts=signer.broadcasts)
    key = PrivateKey.load(str(signer.path))
    message = order_message(Order(IMPORT, SMALL, ("gpu-01", "gpu-02")), "c-1", "llm.fleet.reply.x", 600, key)
    send(clean_broker, {**json.loads(message.body), field: value}, headers=message.headers)
    node.wait_log("event=broadcast_refused")
    assert "somebody has changed the broadcast" in node.log
    assert not (node.store / "manifests").exists()


@pytest.mark.every_version
def test_copied_signed_broadcast_is_refused_also_after_a_restart(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, signer: Signer
) -> None:
    node = updater("gpu-01", broadcasts=signer.broadcasts)
    with overheard(clean_broker) as heard:
        assert task(clean_broker, nodes=["gpu-01"], signing_key=str(signer.path))["changed"] is True
        properties, body = heard()
    for restarted in (False, True):
        if restarted:
            node.close()
            node = updater("gpu-01", broadcasts=signer.broadcasts)
        shutil.rmtree(node.store / "manifests", ignore_errors=True)
        send(clean_broker, body, headers=properties.headers, message_id="another")
        node.wait_log("event=broadcast_refused")
        assert "this node has already taken this broadcast" in node.log
        assert not (node.store / "manifests").exists()


@pytest.mark.every_version
def test_signed_broadcast_resumes_after_a_killed_process(
    clean_broker: Any, updater: Callable[..., Updater], mirror: Mirror, model: Model, signer: Signer
) -> None:
    found: dict[str, Any] = {}
    options = {"nodes": ["gpu-01"], "signing_key": str(signer.path)}
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and answers nothing
        nowhere = replace(mirror.settings, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        node = updater("gpu-01", broadcasts=signer.broadcasts, settings=nowhere)
        asking = threading.Thread(target=lambda: found.update(task(clean_broker, **options)))
        asking.start()
        record = Path(signer.broadcasts["record"])
        eventually(lambda: json.loads(record.read_text())["broadcasts"], "the record of the broadcast", 60)
        node.process.kill()
        node.process.wait()
    again = updater("gpu-01", broadcasts=signer.broadcasts)
    asking.join()
    assert found["nodes"]["gpu-01"]["state"] == "done", found
    assert_sound(again.store, model)


def test_broadcast_brings_blobs_from_the_neighbours_and_reports_which(
    clean_broker: Any, updater: Callable[..., Updater], mirror: Mirror, tmp_path: Path
) -> None:
    large = os.urandom(6 * 1024 * 1024)
    made = Model(SMALL, [large, b"template"]).store(tmp_path / "neighbour")
    with Store(StoreSettings(str(tmp_path / "neighbour"))) as store:
        publisher = ModelPublisher(mirror, store, [ModelName.parse(SMALL)])
        publisher.apply(publisher.plan())
    with serving(tmp_path / "neighbour") as address:
        peers = {"addresses": [address], "secret_credential": "peers-secret"}
        node = updater("gpu-01", peers=peers, more_secrets={"peers-secret": SECRET})
        done = task(clean_broker, nodes=["gpu-01"])["nodes"]["gpu-01"]
    assert done["bytes_from_peers"] == len(large)
    assert done["peers"] == [{"peer": address, "bytes": len(large), "state": "good", "problem": None}]
    assert_sound(node.store, made)


def test_node_without_a_key_accepts_signed_broadcasts(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, signer: Signer
) -> None:
    updater("gpu-01")
    assert task(clean_broker, nodes=["gpu-01"], signing_key=str(signer.path))["changed"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        [],
        {"function": "sync_from_s3", "model": SMALL},
        {"function": "import_from_s3"},
        {"function": "import_from_s3", "model": ["x"]},
        {"function": "import_from_s3", "model": "../../etc"},
        {"function": "import_from_s3", "model": SMALL, "bucket": "another"},
        {"function": "import_from_s3", "model": SMALL, "endpoint": "https://elsewhere.example.com"},
    ],
)
def test_hostile_broadcasts_do_nothing(
    body: Any, clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    node = updater("gpu-01")
    reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
    with channel_to(clean_broker) as channel:
        channel.queue_declare(reply_to, exclusive=True)
        send(clean_broker, body, reply_to)
        got: list[Any] = []

        def reported() -> bool:
            got[:] = channel.basic_get(reply_to, auto_ack=True)
            return got[0] is not None

        eventually(reported, "a report")
    assert json.loads(got[2])["state"] == "failed"
    assert not (node.store / "manifests").exists()


def test_broadcast_of_legionio_is_executed_without_an_answer(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, mirror: Mirror
) -> None:
    node = updater("gpu-01")
    send(clean_broker, {"function": "import_from_s3", "model": SMALL, "bucket": mirror.settings.bucket})
    node.wait_log("event=update")
    assert_sound(node.store, model)


def test_report_is_sent_only_to_reply_queues(clean_broker: Any, updater: Callable[..., Updater], model: Model) -> None:
    node = updater("gpu-01")
    send(clean_broker, {"function": "import_from_s3", "model": SMALL}, "llm.request.ollama.chat.m")
    node.wait_log("event=reply_to_refused")
    assert not (node.store / "manifests").exists()


def test_header_that_pika_cannot_read_does_not_harm_the_updates(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    node = updater("gpu-01")
    with raw_tables():
        send(clean_broker, {"function": "import_from_s3", "model": SMALL}, headers=ODD_TABLE)
    node.wait_log("event=update")
    assert_sound(node.store, model)
    assert node.log.count("event=connected") == 1


def test_updates_publish_the_outcome_of_a_broadcast_to_the_registry(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    updater("gpu-01")
    with channel_to(clean_broker) as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "llm.registry", "llm.registry.import_done")
        task(clean_broker, nodes=["gpu-01"])

        def outcome() -> Any:
            _method, properties, body = channel.basic_get(queue, auto_ack=True)
            return body and (properties.type, json.loads(body))

        kind, document = eventually(outcome, "the outcome", 30)
    assert kind == "legionio.fleet.outcome"
    assert (document["node"], document["state"], document["model"]) == ("gpu-01", "done", SMALL)


def test_updates_without_the_right_to_the_registry_work_and_log_it(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    clean_broker.ctl("add_user", "updates", "fetch-only")
    try:
        rights = updates_permissions("gpu-01")
        write = rights["write"].replace("llm\\.registry", "none")
        assert write != rights["write"]
        clean_broker.ctl("set_permissions", "updates", rights["configure"], write, rights["read"])
        node = updater("gpu-01", username="updates", password="fetch-only")
        assert task(clean_broker, nodes=["gpu-01"])["changed"] is True
        node.wait_log("event=registry_refused")
        assert task(clean_broker, nodes=["gpu-01"])["nodes"]["gpu-01"]["state"] == "done"
        assert node.log.count("event=registry_refused") == node.log.count("event=connected") == 1
    finally:
        clean_broker.ctl("delete_user", "updates")


@pytest.mark.every_version
def test_least_permissions_are_enough(clean_broker: Any, updater: Callable[..., Updater], model: Model) -> None:
    clean_broker.ctl("add_user", "updates", "fetch-only")
    try:
        rights = updates_permissions("gpu-01")
        clean_broker.ctl("set_permissions", "updates", rights["configure"], rights["write"], rights["read"])
        updater("gpu-01", username="updates", password="fetch-only")
        assert task(clean_broker, nodes=["gpu-01"])["changed"] is True
    finally:
        clean_broker.ctl("delete_user", "updates")


def test_node_that_returns_executes_the_missed_broadcast(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    updater("gpu-01").close()
    found: dict[str, Any] = {}
    asking = threading.Thread(target=lambda: found.update(task(clean_broker, nodes=["gpu-01"])))
    asking.start()
    with channel_to(clean_broker) as channel:
        queue = "ollama.s3_models.gpu-01"
        eventually(lambda: channel.queue_declare(queue, passive=True).method.message_count, "the broadcast", 60)
    updater("gpu-01")
    asking.join()
    assert found["nodes"]["gpu-01"]["state"] == "done", found


@pytest.mark.parametrize("times", [0, 1])
def test_report_on_a_redelivered_broadcast_says_so(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, times: int
) -> None:
    updater("gpu-01").close()
    with channel_to(clean_broker) as channel:
        replies = channel.queue_declare("llm.fleet.reply.of-a-test", exclusive=True).method.queue
        send(clean_broker, {"function": "import_from_s3", "model": SMALL}, replies)
        for _time in range(times):
            method, _properties, _body = channel.basic_get("ollama.s3_models.gpu-01")
            channel.basic_nack(method.delivery_tag, requeue=True)
        updater("gpu-01")
        reports = []
        while not reports or reports[-1][1]["state"] == "accepted":
            _method, properties, body = eventually(
                lambda: next((got for got in [channel.basic_get(replies, auto_ack=True)] if got[0]), None), "a report"
            )
            reports.append((properties.headers or {}, json.loads(body)))
    assert [report["state"] for _headers, report in reports] == ["accepted", "done"]
    assert [headers.get("x-legion-fleet-redelivered", 0) for headers, _report in reports] == [times, times]


def test_message_that_is_not_text_does_not_end_the_updates(
    clean_broker: Any, updater: Callable[..., Updater], model: Model
) -> None:
    """pika returns text that is not UTF-8 as bytes, which ended the process, and the next ones."""
    node = updater("gpu-01")
    order = {"function": "import_from_s3", "model": SMALL}
    send(clean_broker, order, reply_to=b"\xff")  # type: ignore[arg-type]
    send(clean_broker, order, message_id=b"\xff")
    node.wait_log("reply_to_refused")
    assert task(clean_broker, nodes=["gpu-01"])["nodes"]["gpu-01"]["state"] == "done"
    assert node.process.poll() is None


@pytest.mark.every_version
def test_deleted_queue_is_declared_again(clean_broker: Any, updater: Callable[..., Updater], model: Model) -> None:
    node = updater("gpu-01")
    with channel_to(clean_broker) as channel:
        channel.queue_delete("ollama.s3_models.gpu-01")
    node.wait_log("event=queue_lost")
    eventually(lambda: node.log.count("event=listening") >= 2, "it listens again", 20)
    assert task(clean_broker, nodes=["gpu-01"])["nodes"]["gpu-01"]["state"] == "done"


def test_broadcast_that_no_node_takes_fails(clean_broker: Any, updater: Callable[..., Updater], model: Model) -> None:
    updater("gpu-01").close()
    result = task(clean_broker, timeout=20)
    assert result["error_code"] == "broadcast_failed"
    assert "No node has taken the broadcast within 2 seconds" in result["msg"]


def test_broadcast_without_a_queue_fails(clean_broker: Any) -> None:
    result = task(clean_broker)
    assert result["error_code"] == "no_fleet_queue"
    assert "fleet-worker updates" in result["msg"]


def test_every_example_runs(
    clean_broker: Any, updater: Callable[..., Updater], model: Model, signer: Signer, tmp_path: Path
) -> None:
    updater("gpu-01")
    updater("gpu-02")
    text = importlib.import_module("ansible_collections.legionio.ollama.plugins.modules.fleet_broadcast").EXAMPLES
    for theirs, ours in {
        "broker_host: hub.example.com": f"broker_host: {clean_broker.host}\n    broker_port: {clean_broker.port}",
        "broker_username: requester": f"broker_username: {clean_broker.username}",
        "{{ requester_password }}": clean_broker.password,
        "signing_key: broadcasts.pem": f"signing_key: {signer.path}",
    }.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    variables = {"ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": yaml.safe_load(text)}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok=4 " in done.stdout and "changed=1 " in done.stdout
