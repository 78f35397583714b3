# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: builds the components, handles signals, and ends with an exit status."""

from __future__ import annotations

import queue
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from .. import __version__
from .._fleet.dialects.base import ReplyIdentity
from .._ollama.client import OllamaClient
from .._ollama.errors import CollectionError
from .._ollama.hosts import parse_host
from .._ollama.text import printable
from ..amqp.registry_publisher import RegistrySettings
from ..domain.delivery import LaneSettings
from ..exit_codes import EXIT_BROKEN, EXIT_CONFIG
from ..inference.circuit_breaker import BreakerSettings
from ..inference.handler import HandlerSettings, RequestHandler
from ..inference.health import Health, OllamaState
from ..inference.http_client import HttpClient
from ..logs.log import Log, set_up
from ..observe.metrics import Metrics
from ..observe.recorder import RequestRecorder
from ..observe.status import TIMEOUT, StatusServer
from ..observe.worker_status import WorkerStatus
from ..runtime.event_loop import EventLoop
from ..runtime.run_loop import run_loop
from ..runtime.supervisor import Supervisor
from ..runtime.systemd import Notifier
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..settings import credentials
from ..settings.auto_lanes import lanes_of
from ..settings.broker import broker_settings
from ..settings.config import Config, load
from ..settings.lanes import configured_lanes
from ..settings.protocol import protocol_settings
from ..settings.sections import ConfigError
from ..worker.settings import WorkerSettings
from ..worker.worker import Worker
from .host_lock import SUFFIX, Claim

LOG = Log()

#: Two signals for a drain (a second one ends the process at once), and one for a reload.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: The keys that a reload changes. All other keys need a restart.
RELOADED = ("lanes", "auto_lanes", "model_concurrency")

#: Seconds beyond the longest deadline after which a working thread counts as stalled.
OVERTIME = 300.0


def run(config: Config, path: str) -> int:
    """Run until a signal; return the exit status.

    :param path: the file that the process reads again at SIGHUP.
    """
    set_up(config.log.format, config.log.level)
    LOG.info("starting", version=__version__, node=config.node, lanes=len(config.lanes))
    error: Optional[CollectionError] = None
    try:
        service = Service(config, path)
        error = service.run()
    except CollectionError as failure:
        error = failure
    except Exception:  # for example the system allows no further thread; systemd restarts the process
        LOG.exception("broken")
        return EXIT_BROKEN
    if error is not None:
        LOG.error("gave_up", error=str(error), code=error.code)
        return EXIT_CONFIG
    LOG.info("ended")
    return EXIT_BROKEN if service.broken else 0


class Service:
    """The components of one worker.

    :raises CollectionError: if a credential, an address or a TLS file cannot be used.
    """

    def __init__(self, config: Config, path: str) -> None:
        self.broken = False
        self._path = path
        self._error: Optional[CollectionError] = None
        self._loop = EventLoop()
        self._supervisor = Supervisor()
        self._config = config
        self._state: Optional[OllamaState] = None
        self._claim = (
            Claim(config.ollama.host, Path(config.status_socket + SUFFIX)) if config.ollama.exclusive else None
        )
        lanes = configured_lanes(config)
        ollama = config.ollama
        secret = {} if ollama.headers_credential is None else credentials.read_headers(ollama.headers_credential)
        headers = {**ollama.headers, **secret}
        # Without retries, because a waiting request gives its slot up.
        client = OllamaClient(ollama.host, connect_timeout=ollama.connect_timeout, headers=headers, retries=0)
        address = parse_host(ollama.host)
        asker = HttpClient(self._loop, address) if HttpClient.suits(address) else None

        def close_idle() -> None:
            client.close_idle()
            if asker is not None:
                self._loop.add_callback_threadsafe(asker.close_idle)

        self._health = Health(
            OllamaClient(ollama.host, headers=headers, retries=0),
            self._health_changed,
            interval=ollama.interval,
            with_abilities=config.auto_lanes is not None,
            close_idle=close_idle,
        )
        self._pool = ThreadPool(config.concurrency)
        self._allow(lanes)
        terms = HandlerSettings(
            worker=ReplyIdentity(config.node, config.legacy_reply_exchange),
            reply_queues=tuple(config.reply_queues),
            max_request=config.max_request_bytes,
            max_reply=config.max_reply_bytes,
            patience=ollama.patience,
            allow_runner_options=config.allow_runner_options,
            protocol=protocol_settings(config),
        )
        self._metrics = Metrics(config.node)
        self._worker = Worker(
            self._loop,
            worker_settings(config, lanes),
            RequestHandler(terms, client, self._health, asker),
            self._pool,
            RequestRecorder(self._metrics),
            Watchdog(Notifier(), self._supervisor),
            self._ended,
        )
        self._status = StatusServer(config.status_socket, self._document)

    def run(self) -> Optional[CollectionError]:
        """Run the worker; return the error that ended it, None after a drain."""
        self.broken = not run_loop(
            self._loop,
            self._supervisor,
            signals=SIGNALS,
            on_signal=self._on_signal,
            start_threads=self._start_threads,
            start=self._worker.start,
        )
        self._status.stop()
        self._metrics.stop()
        self._health.stop()
        self._pool.stop()
        if self._claim is not None:
            self._claim.close()
        return self._error

    def _start_threads(self) -> None:
        self._pool.start()
        self._health.start()
        self._status.start()
        if self._config.metrics.listen is not None:
            self._metrics.serve(self._config.metrics.listen, self._ask_worker)
        self._supervisor.watch(self._health.thread, *self._pool.threads)
        self._supervisor.watch(*(part.listener.thread for part in (self._status, self._metrics) if part.listener))

    def _ended(self, error: Optional[CollectionError]) -> None:
        self._error = error
        self._loop.stop()

    def _on_signal(self, number: int) -> None:
        """React to a signal, in the thread of the signals."""
        if number == signal.SIGHUP:
            self._read_again()
        else:
            self._loop.add_callback_threadsafe(self._worker.drain)

    def _read_again(self) -> None:
        try:
            config = load(self._path)
        except ConfigError as error:
            _refuse_reload(error)
            return
        self._loop.add_callback_threadsafe(lambda: self._take_over(config))

    def _take_over(self, config: Config) -> None:
        old = self._config
        try:
            self._reload(config)
        except Exception as error:  # no content of the file may end the worker
            LOG.exception("reload_failed")
            self._config = old
            _refuse_reload(error)

    def _reload(self, config: Config) -> None:
        """Use the lanes of a new configuration. Running requests keep their settings."""
        old = self._config
        others = [name for name in Config.model_fields if name not in RELOADED]
        left = [name for name in others if getattr(config, name) != getattr(old, name)]
        if left:
            LOG.warning("reload_incomplete", keys=",".join(left), remedy="restart the worker to change these")
        self._config = old.model_copy(update={name: getattr(config, name) for name in RELOADED})
        LOG.info("reloaded")
        if old.auto_lanes is None and config.auto_lanes is not None:
            self._set_lanes(configured_lanes(self._config))
            self._health.ask_abilities()  # the automatic lanes follow when the abilities are known
        else:
            self._assign()

    def _set_lanes(self, lanes: Sequence[LaneSettings]) -> None:
        self._allow(lanes)
        self._worker.set_lanes(lanes)

    def _allow(self, lanes: Sequence[LaneSettings]) -> None:
        """Raise the time limit for threads of the pool to the longest deadline of these lanes."""
        longest = max((lane.deadline for lane in lanes), default=0.0)
        self._pool.allow(longest + self._config.ollama.patience + OVERTIME)

    def _assign(self) -> None:
        """Pass the current lanes to the worker."""
        auto = self._config.auto_lanes
        if auto is None:
            self._set_lanes(configured_lanes(self._config))
        elif self._state is not None and self._state.up:
            self._set_lanes(configured_lanes(self._config, lanes_of(self._state.abilities, auto)))

    def _health_changed(self, state: OllamaState) -> None:
        def take_over() -> None:
            self._state = state
            try:
                self._assign()
            except Exception:  # after a defect with one of Ollama's names, the lanes stay unchanged
                LOG.exception("lanes_unchanged")
            self._worker.health_changed(state)

        self._loop.add_callback_threadsafe(take_over)

    def _ask_worker(self) -> Optional[WorkerStatus]:
        """Return the status from the I/O thread, in any other thread; None without an answer in time."""
        answer: queue.SimpleQueue[WorkerStatus] = queue.SimpleQueue()
        self._loop.add_callback_threadsafe(lambda: answer.put(self._worker.status()))
        try:
            return answer.get(timeout=TIMEOUT)
        except queue.Empty:
            return None

    def _document(self) -> dict[str, Any]:
        """Return the status document, in the thread of the status server."""
        status = self._ask_worker()
        if status is None:
            return {"ready": False, "error": f"The I/O thread did not answer within {TIMEOUT:g} s"}
        return status.document()


def worker_settings(config: Config, lanes: Sequence[LaneSettings]) -> WorkerSettings:
    """Return the settings of the worker.

    :param lanes: the lanes at the start.
    """
    broken = config.broken_model
    return WorkerSettings(
        broker=broker_settings(config.broker, f"fleet-worker {config.node}"),
        lanes=tuple(lanes),
        exchanges=tuple(config.exchanges),
        registry=registry_settings(config),
        breaker=BreakerSettings(broken.failures, broken.pause, broken.longest),
        starvation=config.starvation,
        batch_bytes=config.embed_batch.bytes,
        drain_timeout=config.drain_timeout,
        duplicate_window=config.duplicate_window,
    )


def _refuse_reload(error: Exception) -> None:
    LOG.error("reload_refused", error=printable(error, 2000), remedy="nothing has changed; correct the file")


def registry_settings(config: Config) -> RegistrySettings:
    """Return the settings for registry events."""
    registry = config.registry
    # The first name without a pattern, because only a name means exactly this node.
    names = [name for name in config.protocol.instances or [config.node] if not set(name) & set("*?[")]
    return RegistrySettings(
        config.node,
        config.concurrency,
        registry.heartbeat_interval if registry.enabled else None,
        instance=(names or [config.node])[0] if registry.version2 else None,
    )
