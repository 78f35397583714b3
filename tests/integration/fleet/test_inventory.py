# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as ansible-inventory runs it, against a real broker and real workers."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import yaml
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, channel_to
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.pika_messages import to_pika
from fleet_worker._fleet.registry import AVAILABLE, UNAVAILABLE, Offering

Start = Callable[..., WorkerProcess]
FAST = {"registry": {"heartbeat_interval": 1}}
BROKER_VARIABLES = Path(__file__).resolve().parents[3] / "roles/fleet_broker/vars/main.yml"


def source(folder: Path, broker: Any, **options: Any) -> Path:
    """Write a file for the plugin; an option that is None is left out."""
    content = {
        "plugin": "legionio.ollama.fleet",
        "broker_host": [broker.host],
        "broker_port": broker.port,
        "broker_username": broker.username,
        "broker_password": broker.password,
        "listen": 3,
    }
    path = folder / "fleet.yml"
    path.write_text(yaml.safe_dump({name: value for name, value in (content | options).items() if value is not None}))
    return path


def ansible_inventory(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-inventory", "-i", str(path), "--list"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"ANSIBLE_INVENTORY_ENABLED": "legionio.ollama.fleet", "COLUMNS": "10000"} | environment,
    )


def read(output: str) -> dict[str, Any]:
    """Read a list; ansible-inventory marks texts that are not templates."""
    result: dict[str, Any] = json.loads(output, object_hook=lambda value: value.get("__ansible_unsafe", value))
    return result


def listed(path: Path, **environment: str) -> dict[str, Any]:
    done = ansible_inventory(path, **environment)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def refusal(path: Path, **environment: str) -> str:
    done = ansible_inventory(path, **environment | {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@contextmanager
def announced(broker: Any, **nodes: str) -> Iterator[None]:
    """Publish an event for each node, again and again, until the block ends."""
    stop = threading.Event()
    running = threading.Event()

    def publish() -> None:
        with channel_to(broker) as channel:
            while not stop.wait(0.2):
                for node, event in nodes.items():
                    reply = Offering(lane("chat", CHAT_MODEL), node, 1).event(event)
                    channel.basic_publish(reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message))
                running.set()

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        assert running.wait(30)
        yield
    finally:
        stop.set()
        thread.join()


def test_inventory_of_live_nodes_has_their_variables_and_groups(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    scripted.models = [CHAT_MODEL]
    for node in ("gpu-01", "gpu-02"):
        start(clean_broker, scripted.url, node=node, concurrency=3, **FAST).wait_told("STATUS=1 of 2 lanes served")
    found = listed(source(tmp_path, clean_broker, groups={"wide": "fleet_concurrency >= 3"}))
    assert found["fleet"]["hosts"] == ["gpu-01", "gpu-02"]
    assert found["state_degraded"]["hosts"] == found["wide"]["hosts"] == ["gpu-01", "gpu-02"]
    assert found["model_smollm2_135m"]["hosts"] == ["gpu-01", "gpu-02"]
    assert found["worker_1_0_0"]["hosts"] == ["gpu-01", "gpu-02"]
    # Both nodes serve one of their two lanes.
    (served,) = {name for name in found if name.startswith("lane_")}
    assert found[served]["hosts"] == ["gpu-01", "gpu-02"]
    variables = found["_meta"]["hostvars"]["gpu-01"]
    assert variables["fleet_models"] == [CHAT_MODEL]
    assert variables["fleet_worker_version"] == "1.0.0"
    assert [entry["status"] for entry in variables["fleet_lanes"]] == ["available", "degraded"]


def test_inventory_of_the_observer_of_the_broker_role_needs_no_further_permission(
    clean_broker: Any, tmp_path: Path
) -> None:
    variables = yaml.safe_load(BROKER_VARIABLES.read_text())
    rights = {
        right: variables["__fleet_broker_observer"][right].replace(
            "{{ __fleet_broker_replies }}", variables["__fleet_broker_replies"]
        )
        for right in ("configure", "write", "read")
    }
    clean_broker.ctl("add_user", "observer", "only-listens")
    try:
        clean_broker.ctl("set_permissions", "observer", *rights.values())
        with announced(clean_broker, **{"gpu-01": AVAILABLE}):
            path = source(tmp_path, clean_broker, broker_username="observer", broker_password="only-listens")
            assert listed(path)["fleet"]["hosts"] == ["gpu-01"]
    finally:
        clean_broker.ctl("delete_user", "observer")


def test_inventory_node_without_a_version_is_in_a_group_of_its_own_in_strict_mode_too(
    clean_broker: Any, tmp_path: Path
) -> None:
    """A worker of lex-ollama does not tell its version."""
    with announced(clean_broker, **{"gpu-01": AVAILABLE}):
        found = listed(source(tmp_path, clean_broker, strict=True))
    assert found["worker_unknown"]["hosts"] == ["gpu-01"]


def test_inventory_from_the_cache_needs_no_broker(clean_broker: Any, tmp_path: Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    path = source(tmp_path, clean_broker, **cache)
    with announced(clean_broker, **{"gpu-01": AVAILABLE}):
        first = listed(path)
    assert first["fleet"]["hosts"] == ["gpu-01"]
    # Nobody announces anything now: what is listed is what was kept.
    assert listed(path) == first
    assert listed(source(tmp_path, clean_broker, **cache | {"cache": False}))["_meta"]["hostvars"] == {}


def test_inventory_of_hostile_events_has_no_hostile_hosts_and_no_templates(clean_broker: Any, tmp_path: Path) -> None:
    odd = ("localhost", "127.0.0.1", "all", "-oProxyCommand=x", "a b", "{{ 1 }}", "x" * 300, "a/../b", "gpu-03\n")
    with announced(clean_broker, **{"gpu-01": AVAILABLE, "gpu-02": UNAVAILABLE}, **dict.fromkeys(odd, AVAILABLE)):
        path = source(tmp_path, clean_broker, compose={"shown": "fleet_lanes[0].model"})
        done = ansible_inventory(path)
    assert done.returncode == 0, done.stderr
    found = read(done.stdout)
    assert list(found["_meta"]["hostvars"]) == ["gpu-01"]
    assert "'-oProxyCommand=x'" in done.stderr
    assert found["_meta"]["hostvars"]["gpu-01"]["shown"] == CHAT_MODEL


def test_inventory_that_cannot_be_read_names_the_remedy(clean_broker: Any, tmp_path: Path) -> None:
    wrong = refusal(source(tmp_path, clean_broker, broker_password="secret-0"))
    assert "The nodes of the fleet cannot be heard: The broker" in wrong
    assert "Correct the user name and the password" in wrong
    assert "secret-0" not in wrong
    assert "No broker is given. Set broker_host" in refusal(source(tmp_path, clean_broker, broker_host=None))
    assert "listen is 0. Give the seconds" in refusal(source(tmp_path, clean_broker, listen=0))
    both = refusal(source(tmp_path, clean_broker), FLEET_BROKER_URL=clean_broker.amqp_url)
    assert "broker_url excludes broker_host" in both


def test_inventory_takes_the_broker_from_the_environment(clean_broker: Any, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("broker_host", "broker_port", "broker_username", "broker_password"))
    with announced(clean_broker, **{"gpu-01": AVAILABLE}):
        found = listed(source(tmp_path, clean_broker, **nothing), FLEET_BROKER_URL=clean_broker.amqp_url)
    assert found["fleet"]["hosts"] == ["gpu-01"]
