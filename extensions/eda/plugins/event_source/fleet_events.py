# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event source for Event-Driven Ansible: the changes of a fleet."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# ansible-rulebook runs this file by its path, without Ansible's loader of collections.
_COLLECTIONS = str(Path(__file__).resolve().parents[7])
if _COLLECTIONS not in sys.path:
    sys.path.append(_COLLECTIONS)

from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import (
    EXCHANGE as BROADCASTS,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import (
    KEY as BROADCAST_KEY,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker import (
    BrokerSettings,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker_connection import (
    BrokerConnection,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    BrokerError,
    BrokerUnreachableError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.exchange_listener import listen
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.fleet_watch import FleetWatch, rule_text
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import EVERYTHING, EXCHANGE
from ansible_collections.legionio.ollama.plugins.module_utils._module.broker_options import (
    broker_settings,
    require_one_broker,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError

DOCUMENTATION = r"""
short_description: Receive the changes of a fleet
description:
  - Listens to the registry events of the workers, and to the broadcasts to the nodes, and sends an event for each change.
  - The C(type) of an event says what has happened. An event is a flat dictionary.
  - C(node_joined) has C(node) and C(worker_version). Each node that is there when the source starts counts as joined.
  - C(node_gone) has C(node), the C(lanes) that it had, and C(left), which is false for a node that fell silent.
  - C(node_degraded) has C(node), C(lane), C(model), C(request_type), C(error_class) and C(error). It is sent for each lane that the node
    cannot serve, and again when the reason changes.
  - C(node_recovered) has C(node), which serves all of its lanes again.
  - C(lane_unserved) has C(lane), C(model), C(request_type) and C(nodes), the nodes that have the lane but cannot serve it. C(lane_served) follows when a node
    serves the lane again.
  - C(model_announced) has C(model) and C(nodes), which is null for a broadcast to all nodes.
  - C(model_imported) has C(node), C(model) and C(changed). C(model_import_failed) has C(node), C(model), C(error_class) and C(error).
  - C(broker_lost) has C(error). C(broker_found) follows when the source is connected again; nodes do not count as gone because of this gap.
  - Everybody with write permission for C(llm.registry) can forge events. Names in events are valid names of hosts, lanes and models. Other texts have
    no braces, so a playbook does not evaluate them as templates.
requirements:
  - pika >= 1.2 for the Python that runs ansible-rulebook
options:
  broker_url:
    description: The broker as a URL, C(amqps://user:password@hub.example.com:5671/vhost), percent-encoded where needed. Excludes O(broker_host),
      O(broker_port), O(broker_vhost), O(broker_username), O(broker_password) and O(broker_tls).
    type: str
  broker_host:
    description: Host name or address of the broker, or a list of them. Either O(broker_host) or O(broker_url) is required.
    type: list
    elements: str
  broker_port:
    description: Port of the broker. If not set, the port is 5671 with TLS and 5672 without.
    type: int
  broker_vhost:
    description: Virtual host.
    type: str
    default: /
  broker_username:
    description: User name. Without it, O(broker_client_cert) authenticates the event source.
    type: str
  broker_password:
    description: Password of O(broker_username).
    type: str
  broker_tls:
    description: Whether to use TLS. If not set, the source uses TLS if a port is 5671, or if O(broker_ca_path) or O(broker_client_cert) is set.
    type: bool
  broker_validate_certs:
    description: Whether the certificate of the broker must be valid.
    type: bool
    default: true
  broker_ca_path:
    description: File with the certificates of the authorities that may have signed the broker's certificate.
    type: path
  broker_client_cert:
    description: File with the client certificate of the event source.
    type: path
  broker_client_key:
    description: File with the private key that belongs to O(broker_client_cert).
    type: path
  node_timeout:
    description: Seconds of silence after which a node is gone, or no longer serves a lane. A worker sends an event of each lane every 30 seconds by default.
    type: float
    default: 75
  lane_timeout:
    description: Seconds after which a lane that no node serves is reported.
    type: float
    default: 35
  announcements:
    description: Whether to receive broadcasts, too. Needs read permission for C(lex.ollama).
    type: bool
    default: true
"""

EXAMPLES = r"""
- legionio.ollama.fleet_events:
    broker_host: [hub.example.com]
    broker_username: observer
    broker_password: "{{ observer_password }}"
"""

_TEXTS = ("broker_url", "broker_vhost", "broker_username", "broker_password")
_PATHS = ("broker_ca_path", "broker_client_cert", "broker_client_key")
_SECONDS = {"node_timeout": 75.0, "lane_timeout": 35.0}
_SWITCHES = {"broker_tls": None, "broker_validate_certs": True, "announcements": True}

#: Most messages that wait for a slow rulebook. The oldest are dropped first: a node repeats its state.
_WAITING = 10_000

#: Seconds before the next attempt to reach a lost broker: the first pause, and the longest.
_RETRY = (1.0, 30.0)

#: Seconds between two checks for silent nodes.
_CHECK = 1.0


class InvalidArgumentError(CollectionError):
    """An argument of the source cannot be used."""

    code = "invalid_argument"


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of the source, checked, with their defaults.

    :raises InvalidArgumentError: for an invalid or unknown argument.
    :raises InvalidBrokerError: if the broker is not named, or named twice.
    """
    # ansible-rulebook adds this argument for sources that want feedback on their events.
    given = {name: value for name, value in given.items() if name != "eda_feedback_queue" and value is not None}
    names = (*_TEXTS, *_PATHS, *_SECONDS, *_SWITCHES, "broker_host", "broker_port")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InvalidArgumentError(
            f"fleet_events has no argument {', '.join(unknown)}", remedy=f"It has {', '.join(sorted(names))}"
        )
    for name in (*_TEXTS, *_PATHS):
        _require(name, given.get(name, ""), isinstance(given.get(name, ""), str), "a text")
    for name, seconds in _SECONDS.items():
        value = given.get(name, seconds)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
        _require(name, value, usable, "a number of seconds above 0")
    for name in _SWITCHES:
        _require(name, given.get(name, True), isinstance(given.get(name, True), bool), "true or false")
    port = given.get("broker_port", 1)
    _require("broker_port", port, isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536, "a port")
    hosts = given.get("broker_host", [])
    hosts = [hosts] if isinstance(hosts, str) else hosts
    usable = isinstance(hosts, list) and all(isinstance(host, str) for host in hosts)
    _require("broker_host", hosts, usable, "a list of hosts")
    require_one_broker(given)
    return dict.fromkeys(names) | _SECONDS | _SWITCHES | given | {"broker_host": hosts}


def _require(name: str, value: object, usable: bool, wanted: str) -> None:
    if not usable:
        shown = "" if "password" in name or "url" in name else f" is {value!r:.80}, and"
        raise InvalidArgumentError(f"The argument {name}{shown} must be {wanted}")


class _Ear:
    """Receives messages in a separate thread, and passes them to the event loop.

    :ivar arrived: set in the loop when ``heard`` has something new.
    :ivar heard: messages; True for a new connection, and an error for a lost one.
    """

    def __init__(self, settings: BrokerSettings, bindings: list[tuple[str, str]]) -> None:
        self.heard: deque[Message | BaseException | bool] = deque(maxlen=_WAITING)
        self.arrived = asyncio.Event()
        self._settings = settings
        self._bindings = bindings
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end. It checks this twice a second."""
        self._stopping.set()

    def _run(self) -> None:
        wait = _RETRY[0]

        def listening() -> None:
            nonlocal wait
            wait = _RETRY[0]
            self._tell(True)

        while not self._stopping.is_set():
            try:
                with BrokerConnection(self._settings) as connection:
                    listen(connection, self._bindings, math.inf, self._tell, self._stopping.is_set, listening)
            except Exception as error:  # noqa: BLE001 - the loop decides what a lost broker means, and what a defect is
                self._tell(error)
            self._stopping.wait(wait)
            wait = min(2 * wait, _RETRY[1])

    def _tell(self, what: Message | BaseException | bool) -> None:
        self.heard.append(what)
        try:
            self._loop.call_soon_threadsafe(self.arrived.set)
        except RuntimeError:  # the loop has ended, and the rulebook with it
            self._stopping.set()


class _Reporter:
    """Puts an event into the rulebook's queue for each change.

    :param queue: takes the events, one at a time; the reporter waits for a busy rulebook.
    """

    def __init__(self, queue: asyncio.Queue[Any], ear: _Ear, watch: FleetWatch) -> None:
        self._queue = queue
        self._ear = ear
        self._watch = watch
        self._started = False
        self._lost = False

    async def report(self) -> None:
        """Report until the rulebook ends."""
        while True:
            self._ear.arrived.clear()
            while self._ear.heard:
                await self._take(self._ear.heard.popleft())
            if not self._lost:
                await self._put(self._watch.check(time.monotonic()))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ear.arrived.wait(), _CHECK)

    async def _take(self, heard: Message | BaseException | bool) -> None:
        if isinstance(heard, Message):
            await self._put(self._watch.hear(heard, time.monotonic()))
        elif isinstance(heard, BaseException):
            await self._lose(heard)
        else:
            self._watch.resume(time.monotonic())
            await self._put([{"type": "broker_found"}] if self._lost else [])
            self._started, self._lost = True, False

    async def _lose(self, error: BaseException) -> None:
        # An unreachable broker may come back. A refusal at the start needs a person, and so does a defect.
        if not isinstance(error, BrokerError) or not (self._started or isinstance(error, BrokerUnreachableError)):
            raise error
        if not self._lost:
            await self._put([{"type": "broker_lost", "error": rule_text(str(error))}])
        self._lost = True

    async def _put(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            await self._queue.put(change)


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Send an event for each change, until the rulebook ends.

    :param queue: takes the events.
    :param args: the options of the documentation.
    :raises CollectionError: if an argument is invalid, or the broker refuses the source at the start.
    """
    params = arguments(args)
    bindings = [(EXCHANGE, EVERYTHING)]
    if params["announcements"]:
        bindings.append((BROADCASTS, f"{BROADCAST_KEY}#"))
    ear = _Ear(broker_settings(params), bindings)
    ear.start()
    try:
        await _Reporter(queue, ear, FleetWatch(params["node_timeout"], params["lane_timeout"])).report()
    finally:
        ear.stop()
