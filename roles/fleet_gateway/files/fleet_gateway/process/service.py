# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: builds the components, handles signals, and ends with an exit status."""

from __future__ import annotations

import asyncio
import errno
import signal
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from .. import __version__
from .._ollama.errors import CollectionError
from ..amqp.session import BrokerSession
from ..domain.allowance import Allowances
from ..domain.fleet_view import FleetView
from ..domain.traffic import Traffic
from ..exit_codes import EXIT_BROKEN, EXIT_CONFIG
from ..http.app import application
from ..http.carried import CarriedEndpoint
from ..http.listener import HANDOVER, CannotListenError, end_handover, open_listener
from ..http.listing import Listing
from ..http.page import StatusPage
from ..http.page_state import PageState
from ..http.server import Server, keep_uvicorn_quiet, server
from ..logs.log import Log, set_up
from ..observe.metrics import Metrics
from ..observe.usage_store import UsageStore
from ..runtime.systemd import Notifier
from ..settings.broker import broker_settings
from ..settings.config import Config
from ..settings.keys import ApiKeys
from ..settings.sections import ConfigError
from ..transit.exchange import Exchange

LOG = Log()

#: Seconds between two checks of the file of keys, and between two notifications of systemd's watchdog.
LOOK = 2.0

#: Errors of the system and of SQLite at the start that pass without another configuration: a full, broken or busy disk.
PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
PASSING_IN_SQLITE = ("database or disk is full", "database is locked", "disk I/O error", "locking protocol")


def run(config: Config) -> int:
    """Run until a signal; return the exit status."""
    set_up(config.log.format, config.log.level)
    keep_uvicorn_quiet()
    LOG.info("starting", version=__version__, node=config.node, listen=config.listen)
    try:
        return asyncio.run(_serve(config))
    except Exception:
        LOG.exception("broken")
        return EXIT_BROKEN


async def _serve(config: Config) -> int:
    """Build the service, and run it; return the exit status."""
    try:
        Path(config.state_directory).mkdir(parents=True, exist_ok=True)
        # In the loop: before Python 3.10, an asyncio.Event belongs to the loop in which it is created.
        service = Service(config)
    except CollectionError as error:
        LOG.error("gave_up", error=str(error), code=error.code)
        return EXIT_CONFIG
    except (OSError, sqlite3.Error) as error:
        LOG.error("gave_up", error=str(error))
        return EXIT_BROKEN if _passes(error) else EXIT_CONFIG
    except CannotListenError as error:
        LOG.error("gave_up", error=str(error))
        return EXIT_BROKEN  # the previous gateway may still drain and listen there
    return await service.run()


def _passes(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in PASSING
    return str(error).startswith(PASSING_IN_SQLITE)  # before Python 3.11, an error of SQLite has no code


class Service:
    """The components of one gateway.

    :raises CollectionError: if a credential, an address, a file of keys or a TLS file cannot be used.
    :raises CannotListenError: if the gateway cannot listen at the configured address.
    :raises OSError: if the state directory cannot be used.
    :raises sqlite3.Error: if the file of the usage cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._notifier = Notifier()
        self._keys = None if config.keys_file is None else ApiKeys(config.keys_file)
        self._usage = UsageStore(config.state_directory)
        self._view = FleetView(config.node_timeout)
        self._exchange = Exchange(config, self._view)
        self._session = BrokerSession(
            broker_settings(config.broker, f"fleet-gateway {config.node}"),
            config.exchange,
            on_reply=self._exchange.take_reply,
            on_registry_event=self._exchange.take_registry_event,
            changed=self._connection_changed,
        )
        self._exchange.use(self._session)
        metrics = Metrics(self._gauges, node=config.node)
        allowances = Allowances(self._usage.tokens_today)
        traffic = Traffic()
        carried = CarriedEndpoint(config, self._exchange, allowances, self._usage, metrics, self._keys, traffic)
        listing = Listing(self._view, self._exchange, self._keys, config)
        state = PageState(
            self.snapshot, self._view.announcements, traffic, self._session.depths, timeout=config.node_timeout
        )
        page = StatusPage(state, config.page, self._keys)
        self._server: Server = server(config, application(config, carried, listing, page, metrics, self.snapshot))
        self._listener = open_listener(config)
        self._began = time.time()
        self._draining = False

    async def run(self) -> int:
        """Serve until a signal; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._read_keys)
        session = asyncio.ensure_future(self._session.run())
        looks = asyncio.ensure_future(self._look())
        serving = asyncio.ensure_future(self._server.serve([self._listener]))
        try:
            done, _pending = await asyncio.wait({session, looks, serving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises the error that ended the task
            return 0 if self._draining and serving.done() else EXIT_BROKEN
        finally:
            await self._session.close()
            for task in (session, looks, serving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            self._usage.close()
            LOG.info("ended")

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the gateway as plain JSON."""
        lanes = self._view.lanes()
        reason = ""
        if self._draining:
            reason = "it ends"
        elif not self._session.is_up:
            reason = f"no broker: {self._session.trouble}"
        elif not lanes:
            reason = "no node has announced a lane yet"
        running, waiting = self._exchange.running(), self._exchange.waiting
        return {
            "ready": not reason,
            "reason": reason,
            "node": self._config.node,
            "version": __version__,
            "since": self._began,
            "connected": self._session.is_up,
            "keys": None if self._keys is None else len(self._keys),
            "lanes": [
                {
                    "queue": lane.queue,
                    "model": lane.model,
                    "nodes": list(lane.nodes),
                    "own": [own.node for own in lane.own],
                    "slots": lane.slots,
                    "running": running.get(lane.queue, 0),
                    "waiting": waiting.get(lane.queue, 0),
                }
                for lane in lanes
            ],
        }

    def _gauges(self) -> Iterable[tuple[str, str, float]]:
        yield "start_time_seconds", "When the gateway was started, in seconds since 1970.", self._began
        yield "ready", "Whether the gateway can serve requests.", float(self.snapshot()["ready"])
        yield "draining", "Whether the gateway takes no more requests.", float(self._draining)
        yield "connected", "Whether there is a connection to the broker.", float(self._session.is_up)
        yield "in_flight", "Requests that are at the fleet.", self._exchange.in_flight
        yield "waiting", "Requests that wait in the gateway.", sum(self._exchange.waiting.values())
        yield "lanes", "Lanes that live nodes serve.", len(self._view.lanes())

    def _connection_changed(self) -> None:
        if self._session.is_up:
            self._exchange.connected()
            self._notifier.ready()
        else:
            self._exchange.connection_lost()

    def _stop(self) -> None:
        if self._draining:
            self._server.force_exit = True
        else:
            asyncio.get_running_loop().call_later(HANDOVER, end_handover, self._config)
        self._draining = True
        LOG.info("draining", in_flight=self._exchange.in_flight)
        self._notifier.stopping()
        self._server.should_exit = True

    def _read_keys(self) -> None:
        if self._keys is None:
            return
        try:
            if self._keys.refresh():
                LOG.info("keys_read", keys=len(self._keys))
        except ConfigError as error:
            LOG.error("keys_refused", error=str(error), remedy="the keys stay as they were; correct the file")

    async def _look(self) -> None:
        while True:
            self._read_keys()
            self._notifier.alive()
            state = self.snapshot()
            self._notifier.status(
                f"{len(state['lanes'])} lanes, {self._exchange.in_flight} running,"
                f" {sum(self._exchange.waiting.values())} waiting"
                + (f"; not ready: {state['reason']}" if state["reason"] else "")
            )
            await asyncio.sleep(LOOK)


def listens_at(config: Config) -> Optional[str]:
    """Return the URL of the status of the configured gateway."""
    host, port = config.address
    scheme = "https" if config.tls else "http"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compares the configured value
        host = "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/status"
