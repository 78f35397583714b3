# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source for Event-Driven Ansible, against a real broker and real workers."""

from __future__ import annotations

import asyncio
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, channel_to
from fleet_worker._fleet.broadcasts import FAILED, IMPORT, NodeReport, Order, outcome_message
from fleet_worker._fleet.pika_messages import to_pika

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "extensions/eda/plugins/event_source/fleet_events.py"
RULEBOOK = ROOT / "extensions/eda/rulebooks/heal_fleet.yml"

#: Seconds after which a test gives up that waits for an event.
PATIENCE = 60.0

Start = Callable[..., WorkerProcess]
FAST = {"registry": {"heartbeat_interval": 1}}


def login(broker: Any) -> dict[str, Any]:
    return {
        "broker_host": [broker.host],
        "broker_port": broker.port,
        "broker_username": broker.username,
        "broker_password": broker.password,
    }


class Watching:
    """The source in a loop of its own, as ansible-rulebook runs it, with its events in a list."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._main = runpy.run_path(str(SOURCE))["main"]
        self._args = args
        self.events: list[dict[str, Any]] = []

    def until(self, wanted: Callable[[dict[str, Any]], bool], do: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Run until an event comes; return it.

        :param do: called once the source listens, in a thread.
        """
        return asyncio.run(asyncio.wait_for(self._until(wanted, do), PATIENCE))

    async def _until(self, wanted: Callable[[dict[str, Any]], bool], do: Callable[[], None]) -> dict[str, Any]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)
        running = asyncio.create_task(self._main(queue, self._args))
        doing = asyncio.create_task(asyncio.to_thread(do))
        try:
            while True:
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, running}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    getting.cancel()
                    running.result()
                event = await getting
                self.events.append(event)
                if wanted(event):
                    await doing
                    return event
        finally:
            running.cancel()


def kind(name: str, **others: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["type"] == name and all(event[key] == value for key, value in others.items())


def test_source_reports_a_node_that_degrades_and_leaves(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.models = [CHAT_MODEL]
    worker = start(clean_broker, scripted.url, **FAST)
    worker.wait_told("STATUS=1 of 2 lanes served")
    watching = Watching(login(clean_broker) | {"node_timeout": 5, "lane_timeout": 1})
    degraded = watching.until(kind("node_degraded"))
    assert (degraded["node"], degraded["error_class"]) == ("gpu-01", "model_not_loaded")
    unserved = watching.until(kind("lane_unserved"))
    assert (unserved["model"], unserved["nodes"]) == ("all-minilm:latest", ["gpu-01"])

    def leave() -> None:
        time.sleep(2)  # the source hears a heartbeat first: a node that was never there does not leave
        worker.process.terminate()

    gone = watching.until(kind("node_gone"), leave)
    assert (gone["node"], gone["left"]) == ("gpu-01", True)


def test_source_reports_a_node_that_is_killed(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(clean_broker, scripted.url, **FAST).wait_ready()

    def kill() -> None:
        time.sleep(2)
        worker.process.kill()

    gone = Watching(login(clean_broker) | {"node_timeout": 3}).until(kind("node_gone"), kill)
    assert (gone["node"], gone["left"]) == ("gpu-01", False)


def test_source_reports_a_broker_that_is_lost_and_returns(broker: Any, clean_broker: Any) -> None:
    def close() -> None:
        time.sleep(2)
        broker.ctl("close_all_connections", "a test")

    watching = Watching(login(clean_broker))
    watching.until(kind("broker_found"), close)
    assert [event["type"] for event in watching.events] == ["broker_lost", "broker_found"]


def test_source_reports_an_import_that_failed(clean_broker: Any) -> None:
    report = NodeReport("gpu-01", FAILED, error={"code": "disk_full", "message": "no room"})
    message = outcome_message(Order(IMPORT, "llama3"), report)

    def publish() -> None:
        with channel_to(clean_broker) as channel:
            for _try in range(10):
                channel.basic_publish(
                    message.exchange, message.routing_key, message.message.body, to_pika(message.message)
                )
                time.sleep(0.5)

    failed = Watching(login(clean_broker)).until(kind("model_import_failed"), publish)
    assert failed == {
        "type": "model_import_failed",
        "node": "gpu-01",
        "model": "llama3",
        "error_class": "disk_full",
        "error": "no room",
    }


@pytest.mark.parametrize(
    "change, message",
    [
        ({"broker_password": "secret-0"}, "Correct the user name and the password"),
        ({"broker_host": []}, "No broker is given. Set broker_host or broker_url"),
        ({"node_timeout": 0}, "node_timeout is 0, and must be a number of seconds above 0"),
        ({"announcements": "no"}, "announcements is 'no', and must be true or false"),
        ({"broker_url": "amqp://x"}, "broker_url excludes broker_host"),
        ({"hosts": ["x"]}, "fleet_events has no argument hosts"),
        ({"broker_port": "5672"}, "broker_port is '5672', and must be a port"),
    ],
)
def test_source_with_a_wrong_argument_names_the_remedy(clean_broker: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as raised:
        Watching(login(clean_broker) | change).until(lambda _event: True)
    assert "secret-0" not in str(raised.value)


def rulebook_command() -> str:
    """Return the ansible-rulebook of a separate environment."""
    if shutil.which("java") is None:
        pytest.skip("ansible-rulebook needs a Java runtime")
    script = ROOT / "tests/tools/venv.sh"
    venv = subprocess.run(
        [script, ROOT / "tests/requirements-eda.txt"], check=True, capture_output=True, text=True, timeout=600
    )
    return f"{venv.stdout.strip()}/bin/ansible-rulebook"


@contextmanager
def rulebook_running(folder: Path, broker: Any) -> Iterator[Path]:
    """Run the collection's rulebook, with a playbook that notes its hosts in place of the one that provisions them.

    :return: the file with the notes.
    """
    command = rulebook_command()
    notes = folder / "notes"
    note = "{{ inventory_hostname }} {{ ansible_eda.event.type }}"
    task = {"name": "Note", "ansible.builtin.lineinfile": {"path": str(notes), "line": note, "create": True}}
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {
        "name": "Note",
        "vars": variables,
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "tasks": [task],
    }
    (folder / "note.yml").write_text(yaml.safe_dump([play]))
    text = RULEBOOK.read_text()
    assert text.count("legionio.ollama.provision_fleet") == 2
    rules = yaml.safe_load(text.replace("legionio.ollama.provision_fleet", str(folder / "note.yml")))
    rules[0]["sources"][0]["legionio.ollama.fleet_events"] |= login(broker) | {"node_timeout": 5, "lane_timeout": 2}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules, sort_keys=False))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"gpu-01": None, "gpu-02": None}}}))
    environment = os.environ | {"PATH": f"{Path(command).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [command, "--rulebook", folder / "rules.yml", "-i", folder / "hosts.yml", "--verbose"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            yield notes
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
            sys.stdout.write((folder / "log").read_text())


def test_rulebook_provisions_the_node_that_degrades_and_the_one_that_dies(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    scripted.models = [CHAT_MODEL]
    worker = start(clean_broker, scripted.url, **FAST)
    worker.wait_told("STATUS=1 of 2 lanes served")
    folder = tmp_path / "rulebook"  # run_playbook copies the whole folder of the rulebook
    folder.mkdir()
    with rulebook_running(folder, clean_broker) as notes:
        await_line(notes, "gpu-01 node_degraded")
        worker.process.kill()
        await_line(notes, "gpu-01 node_gone")
    assert "gpu-02" not in notes.read_text()
    assert "lane_unserved" in (folder / "log").read_text()


def await_line(path: Path, line: str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < deadline:
        if path.exists() and line in path.read_text().splitlines():
            return
        time.sleep(0.2)
    pytest.fail(f"{line!r} does not come")
