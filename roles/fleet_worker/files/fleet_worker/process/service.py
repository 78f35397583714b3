# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: it builds the components, handles signals, and ends with an exit status."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from .. import __version__
from .._fleet.dialects.base import ReplyIdentity as WorkerIdentity
from .._ollama.client import OllamaClient
from .._ollama.errors import CollectionError
from .._ollama.hosts import parse_host
from .._ollama.text import printable
from ..amqp.registry_publisher import RegistryPublisher
from ..domain.delivery import LaneSettings
from ..exit_codes import EXIT_CONFIG
from ..inference.circuit_breaker import CircuitBreaker
from ..inference.handler import HandlerSettings, RequestHandler
from ..inference.health import Health, OllamaState
from ..inference.http_client import HttpClient
from ..inference.result_cache import ResultCache
from ..logs.log import Log, set_up
from ..observe.metrics import Metrics
from ..observe.status import TIMEOUT, StatusServer
from ..runtime.event_loop import EventLoop
from ..runtime.supervisor import RoundThread, Supervisor
from ..runtime.systemd import Notifier
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..settings import credentials
from ..settings.auto_lanes import lanes_of
from ..settings.broker import broker_settings
from ..settings.config import Config, ConfigError, load
from ..settings.lanes import configured_lanes
from ..settings.protocol import protocol_settings
from ..worker.worker import Worker
from .host_lock import SUFFIX, Claim

LOG = Log()

#: What the process leaves with after a defect.
EXIT_BROKEN = 1

#: To stop, twice to stop at once; to read the configuration again.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: What a reload takes over. Everything else is what the worker was started with.
RELOADED = ("lanes", "auto_lanes", "model_concurrency")

#: Seconds after the end of the longest request from which on a thread that still works on one counts as stalled.
OVERTIME = 300.0


def run(config: Config, path: str) -> int:
    """Work until a signal ends it; return the exit status.

    :param path: the file that SIGHUP has read again.
    """
    set_up(config.log.format, config.log.level)
    LOG.info("starting", version=__version__, node=config.node, lanes=len(config.lanes))
    error: Optional[CollectionError] = None
    try:
        service = Service(config, path)
        error = service.run()
    except CollectionError as failure:
        error = failure
    except Exception:  # such as a thread that could not be started; systemd tries again
        LOG.exception("broken")
        return EXIT_BROKEN
    if error is not None:
        LOG.error("gave_up", error=str(error), code=error.code)
        return EXIT_CONFIG
    LOG.info("ended")
    return EXIT_BROKEN if service.broken else 0


class Service:
    """The parts of one worker.

    :raises CollectionError: when a credential, an address or a TLS file cannot be used.
    """

    def __init__(self, config: Config, path: str) -> None:
        self.broken = False
        self._path = path
        self._error: Optional[CollectionError] = None
        self._loop = EventLoop()
        self._supervisor = Supervisor()
        self._notifier = Notifier()
        self._config = config
        self._state: Optional[OllamaState] = None
        self._claim = (
            Claim(config.ollama.host, Path(config.status_socket + SUFFIX)) if config.ollama.exclusive else None
        )
        lanes = configured_lanes(config)
        ollama = config.ollama
        secret = {} if ollama.headers_credential is None else credentials.read_headers(ollama.headers_credential)
        headers = {**ollama.headers, **secret}
        # Without retries: a request that has to wait gives its slot up meanwhile.
        client = OllamaClient(ollama.host, connect_timeout=ollama.connect_timeout, headers=headers, retries=0)
        address = parse_host(ollama.host)
        asker = HttpClient(self._loop, address) if HttpClient.suits(address) else None

        def let_go() -> None:
            client.close_idle()
            if asker is not None:
                self._loop.add_callback_threadsafe(asker.close_idle)

        self._health = Health(
            OllamaClient(ollama.host, headers=headers, retries=0),
            self._health_changed,
            interval=ollama.interval,
            with_abilities=config.auto_lanes is not None,
            let_go=let_go,
        )
        self._pool = ThreadPool(config.concurrency)
        self._allow(lanes)
        terms = HandlerSettings(
            worker=WorkerIdentity(config.node, config.legacy_reply_exchange),
            reply_queues=tuple(config.reply_queues),
            max_request=config.max_request_bytes,
            max_reply=config.max_reply_bytes,
            patience=ollama.patience,
            allow_runner_options=config.allow_runner_options,
            protocol=protocol_settings(config),
        )
        self._metrics = Metrics(config.node)
        self._metrics_listen = config.metrics.listen
        settings = broker_settings(config.broker, f"fleet-worker {config.node}")
        self._worker = Worker(
            self._loop,
            settings=settings,
            lanes=lanes,
            exchanges=config.exchanges,
            slots=config.concurrency,
            starvation=config.starvation,
            batch_bytes=config.embed_batch.bytes,
            results=ResultCache(keep=config.duplicate_window),
            breaker=CircuitBreaker(
                config.broken_model.failures, config.broken_model.pause, config.broken_model.longest
            ),
            drain_timeout=config.drain_timeout,
            server=RequestHandler(terms, client, self._health, asker),
            pool=self._pool,
            notifier=self._notifier,
            announcer=RegistryPublisher(
                self._loop,
                settings,
                node=config.node,
                slots=config.concurrency,
                interval=config.registry.heartbeat_interval if config.registry.enabled else None,
            ),
            metrics=self._metrics,
            ended=self._ended,
            watchdog=Watchdog(self._notifier, self._supervisor),
        )
        self._status = StatusServer(config.status_socket, self._snapshot)

    def run(self) -> Optional[CollectionError]:
        """Work; return the error that ended it, None after a drain."""
        # Blocked before the first thread starts, because threads inherit this: one thread alone waits for signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signals = RoundThread("signals", lambda: signal.sigwait(SIGNALS), self._on_signal)
        signals.start()
        self._pool.start()
        self._health.start()
        self._status.start()
        if self._metrics_listen is not None:
            self._metrics.serve(self._metrics_listen, self._snapshot)
        self._supervisor.watch(signals, self._health.thread, *self._pool.threads)
        self._supervisor.watch(*(part.listener.thread for part in (self._status, self._metrics) if part.listener))
        io_thread = threading.Thread(target=self._turn, name="io")
        io_thread.start()
        io_thread.join()
        self._status.stop()
        self._metrics.stop()
        self._health.stop()
        self._pool.stop()
        if self._claim is not None:
            self._claim.close()
        return self._error

    def _turn(self) -> None:
        """Run the loop; in the I/O thread."""
        try:
            self._worker.start()
            self._loop.start()
        except Exception:
            # A defect of ours. The process ends, the broker has back what was in flight, and systemd starts it anew.
            LOG.exception("broken")
            self.broken = True

    def _ended(self, error: Optional[CollectionError]) -> None:
        self._error = error
        self._loop.stop()

    def _on_signal(self, number: int) -> None:
        """React to a signal; in a thread of its own.

        Not in a signal handler: it could interrupt a thread that holds a lock which the handler needs, such as that of
        the log, and then wait for ever.
        """
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
        except Exception as error:  # the file is what an operator wrote; whatever it is, the worker goes on
            LOG.exception("reload_failed")
            self._config = old
            _refuse_reload(error)

    def _reload(self, config: Config) -> None:
        """Serve the lanes of a new configuration. Work in flight goes on as it was begun."""
        old = self._config
        others = [name for name in Config.model_fields if name not in RELOADED]
        left = [name for name in others if getattr(config, name) != getattr(old, name)]
        if left:
            LOG.warning("reload_incomplete", keys=",".join(left), remedy="restart the worker to change these")
        self._config = old.model_copy(update={name: getattr(config, name) for name in RELOADED})
        LOG.info("reloaded")
        if old.auto_lanes is None and config.auto_lanes is not None:
            self._serve(configured_lanes(config))
            self._health.ask_abilities()  # and the others when they are known
        else:
            self._assign()

    def _serve(self, lanes: Sequence[LaneSettings]) -> None:
        self._allow(lanes)
        self._worker.set_lanes(lanes)

    def _allow(self, lanes: Sequence[LaneSettings]) -> None:
        """Let a thread of the pool be busy for as long as the longest request of these lanes may take."""
        longest = max((lane.deadline for lane in lanes), default=0.0)
        self._pool.allow(longest + self._config.ollama.patience + OVERTIME)

    def _assign(self) -> None:
        """Have the worker serve the lanes that there are now."""
        auto = self._config.auto_lanes
        if auto is None:
            self._serve(configured_lanes(self._config))
        elif self._state is not None and self._state.up:
            self._serve(configured_lanes(self._config, lanes_of(self._state.abilities, auto)))

    def _health_changed(self, state: OllamaState) -> None:
        def take_over() -> None:
            self._state = state
            try:
                self._assign()
            except Exception:  # the names are Ollama's; whatever they are, the lanes stay as they were
                LOG.exception("lanes_unchanged")
            self._worker.health_changed(state)

        self._loop.add_callback_threadsafe(take_over)

    def _snapshot(self) -> dict[str, Any]:
        """Ask the I/O thread how the worker is; in the thread of the status server."""
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._loop.add_callback_threadsafe(lambda: answer.put(self._worker.snapshot()))
        try:
            return answer.get(timeout=TIMEOUT)
        except queue.Empty:
            return {"ready": False, "error": f"The I/O thread did not answer within {TIMEOUT:g} s"}


def _refuse_reload(error: Exception) -> None:
    LOG.error("reload_refused", error=printable(error, 2000), remedy="nothing has changed; correct the file")
