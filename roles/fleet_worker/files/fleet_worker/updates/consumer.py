# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second process of a node, which receives broadcasts, and imports models as Ollama's user.

The process acknowledges a broadcast after it has reported the outcome. If the connection breaks or the process stops
during an import, the broker redelivers the broadcast, and the import resumes.
"""

from __future__ import annotations

import signal
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .. import __version__
from .._fleet.broadcasts import (
    ACCEPTED,
    FAILED,
    KEY,
    QUEUE_ARGUMENTS,
    NodeReport,
    Order,
    queue_of,
    read_order,
    report_message,
)
from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.errors import BrokerError, FleetError
from .._fleet.messages import Message
from .._fleet.pika_messages import from_pika
from .._fleet.trust import refusal
from .._ollama.errors import CollectionError
from ..amqp.publisher import ConfirmingPublisher
from ..amqp.reconnecting import ReconnectingConnection
from ..domain.delivery import delivery_count
from ..domain.publication import Publication
from ..domain.settlement import Settlement
from ..domain.verdicts import marked
from ..exit_codes import EXIT_BROKEN, EXIT_CONFIG
from ..logs.defects import contained
from ..logs.log import Log, set_up
from ..runtime.event_loop import EventLoop
from ..runtime.run_loop import run_loop
from ..runtime.supervisor import Supervisor
from ..runtime.systemd import Notifier
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..settings.broker import broker_settings
from .admission import BroadcastAdmission
from .config import (
    UpdatesConfig,
    broadcast_admission,
    mirror_settings,
    signature_policy,
    store_settings,
    transfer_options,
)
from .importer import BroadcastImporter
from .outcome_publisher import OutcomePublisher

LOG = Log()

#: Prefetched broadcasts; the node carries them out one after the other.
PREFETCH = 10

#: Signals that end the process.
SIGNALS = {signal.SIGTERM, signal.SIGINT}

#: Seconds until the process declares a refused queue again.
RETRY = 30.0
#: Seconds until the process declares a deleted queue again. Meanwhile the node misses broadcasts.
RETRY_DELETED = 1.0

#: Seconds for the broker to close the connection.
GOODBYE = 5.0


@dataclass(frozen=True)
class BroadcastSettings:
    """The settings of a consumer of broadcasts.

    :ivar reply_queues: patterns of the allowed reply queues.
    """

    broker: BrokerSettings
    node: str
    exchange: str
    reply_queues: tuple[str, ...]


@dataclass
class ReceivedBroadcast:
    """A broadcast with its deliveries.

    :ivar count: the number of earlier deliveries.
    :ivar settlements: the first delivery, and the redeliveries that came while the broadcast ran.
    :ivar identity: an identifier that only the deliveries of this broadcast share.
    """

    message: Message
    count: int
    settlements: list[Settlement]
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)

    def ack(self) -> None:
        for settlement in self.settlements:
            settlement.ack()

    def reject(self) -> None:
        for settlement in self.settlements:
            settlement.reject()


class BroadcastConsumer:
    """Consumes the broadcasts of a node, and passes them to the importer.

    :param watchdog: is fed while the loop of this object runs.
    """

    def __init__(
        self,
        loop: Any,
        settings: BroadcastSettings,
        *,
        admission: BroadcastAdmission,
        updates: BroadcastImporter,
        pool: ThreadPool,
        notifier: Notifier,
        watchdog: Watchdog,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._admission = admission
        self._updates = updates
        self._pool = pool
        self._notifier = notifier
        self._watchdog = watchdog
        broker = settings.broker
        self._link = ReconnectingConnection(loop, broker, opened=self._opened, lost=self._lost, failed=self._failed)
        self._publisher = ConfirmingPublisher(loop, self._link, broker, forbidden=self._link.give_up)
        self._outcomes = OutcomePublisher(self._link, broker)
        self._leaving = False
        #: The running broadcasts, by identity.
        self._running: dict[str, ReceivedBroadcast] = {}
        #: The latest started broadcast, for people.
        self._work = ""
        self.queue = queue_of(settings.node)

    def start(self) -> None:
        self._link.start()
        self._tick()

    def _tick(self) -> None:
        self._loop.call_later(self._watchdog.seconds, self._tick)
        self._watchdog.feed()
        progress = self._updates.progress
        if self._running and progress and not self._watchdog.trouble:
            self._notifier.status(f"{self._work}: {progress}")

    def stop(self) -> None:
        """Close the connection. The broker redelivers a running broadcast to this node, and its import resumes."""
        LOG.info("stopping", in_flight=len(self._running))
        self._leaving = True
        self._updates.leave()
        self._notifier.stopping()
        self._loop.call_later(GOODBYE, self._loop.stop)
        self._link.close(self._loop.stop)

    def _opened(self, _connection: Any) -> None:
        LOG.info("connected", broker=self._link.address)
        self._publisher.open(lambda: None)
        self._listen()

    def _listen(self) -> None:
        def opened(channel: Any) -> None:
            channel.queue_declare(
                self.queue, durable=True, arguments=dict(QUEUE_ARGUMENTS), callback=lambda _frame: bind(channel)
            )

        def bind(channel: Any) -> None:
            channel.queue_bind(self.queue, self._settings.exchange, KEY + "#", callback=lambda _frame: consume(channel))

        def consume(channel: Any) -> None:
            channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _frame: None)
            channel.basic_consume(self.queue, self._heard, callback=lambda _frame: self._ready())

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(lambda _frame: self._cancelled(channel))

    def _ready(self) -> None:
        LOG.info("listening", queue=self.queue, exchange=self._settings.exchange)
        self._link.confirmed_useful()
        self._notifier.ready()
        self._notifier.status(f"listening to {self._settings.exchange}")

    def _closed(self, _channel: Any, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return
        reason = channel_error(error.reply_code, error.reply_text, self._settings.broker)
        LOG.error("queue_refused", queue=self.queue, error=str(reason))
        self._notifier.status(str(reason))
        self._link.call_later(RETRY, self._listen)

    def _cancelled(self, channel: Any) -> None:
        """Declare the queue again after the broker has ended the consumer, because the queue was deleted."""
        LOG.warning("queue_lost", queue=self.queue)
        self._notifier.status(f"the queue {self.queue} was deleted; it is declared again soon")
        channel.close()
        self._link.call_later(RETRY_DELETED, self._listen)

    def _lost(self, error: BrokerError) -> None:
        if not self._leaving:
            LOG.warning("connection_lost", error=str(error))
        self._publisher.connection_lost(error)
        self._notifier.status(str(error))

    def _failed(self, error: FleetError) -> None:
        LOG.error("cannot_connect", error=str(error))
        self._notifier.status(str(error))

    def _heard(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        settlement = Settlement(channel, method.delivery_tag)

        def reject(_error: Exception) -> None:
            # A redelivered message would meet the defect again and again.
            settlement.reject()

        def take() -> None:
            count = delivery_count(properties.headers, method.redelivered)
            self._take(ReceivedBroadcast(from_pika(properties, body), count, [settlement]))

        contained(take, reject)

    def _take(self, broadcast: ReceivedBroadcast) -> None:
        """Carry a broadcast out, or refuse it."""
        message = broadcast.message
        reply_to = message.properties.reply_to
        if reply_to is not None and refusal(reply_to, self._settings.reply_queues):
            LOG.warning("reply_to_refused", reply_to=reply_to)
            broadcast.reject()
            return
        try:
            order = read_order(message)
            if order.nodes is not None and self._settings.node not in order.nodes:
                broadcast.ack()
                return
            admitted = self._admission.admit(message, order, broadcast.count > 0)
            broadcast.identity = admitted.identity or broadcast.identity
            if admitted.is_done:  # only the acknowledgement was lost
                broadcast.ack()
                return
            running = self._running.get(broadcast.identity)
            if running is not None:
                running.settlements.extend(broadcast.settlements)
                return
            self._updates.check(order)
        except CollectionError as error:
            LOG.warning("broadcast_refused", error=str(error))
            report = NodeReport(self._settings.node, FAILED, error={"code": error.code, "message": str(error)})
            self._report_last(broadcast, report)
            return
        self._report(broadcast, NodeReport(self._settings.node, ACCEPTED), lambda: None)
        self._running[broadcast.identity] = broadcast
        self._work = f"{order.function} of {order.model}"
        self._notifier.status(self._work)
        self._pool.submit(partial(self._carry_out, broadcast, order))

    def _carry_out(self, broadcast: ReceivedBroadcast, order: Order) -> None:
        """Carry a broadcast out, in the thread of the pool."""
        report = self._updates.carry_out(order)
        self._loop.add_callback_threadsafe(lambda: self._finished(broadcast, order, report))

    def _finished(self, broadcast: ReceivedBroadcast, order: Order, report: NodeReport) -> None:
        self._notifier.status(f"listening to {self._settings.exchange}")
        del self._running[broadcast.identity]
        self._report_last(broadcast, report)
        self._outcomes.publish(order, report)

    def _report_last(self, broadcast: ReceivedBroadcast, report: NodeReport) -> None:
        """Publish the last report on a broadcast, and acknowledge the broadcast after the confirm."""

        def published() -> None:
            # Before the acknowledgement, so that a lost acknowledgement repeats nothing.
            self._admission.finish(broadcast.identity)
            broadcast.ack()

        self._report(broadcast, report, published)

    def _report(self, broadcast: ReceivedBroadcast, report: NodeReport, published: Callable[[], None]) -> None:
        """Publish a report, and call ``published`` after the confirm.

        The report on a redelivered broadcast has a mark, because the process may have ended after it published the same
        report.
        """
        properties = broadcast.message.properties
        if properties.reply_to is None:  # LegionIO's own broadcasts expect no answer
            published()
            return

        def confirmed(publication: Optional[Publication]) -> None:
            if publication is not Publication.LOST:
                published()

        written = report_message(report, properties.reply_to, properties.correlation_id)
        self._publisher.publish(marked(written, broadcast.count), confirmed)


def run(config: UpdatesConfig) -> int:
    """Run until a signal; return the exit status."""
    set_up(config.log.format, config.log.level)
    LOG.info("starting", version=__version__, node=config.node)
    try:
        updates = BroadcastImporter(
            config.node,
            mirror_settings(config),
            store_settings(config),
            tuple(config.models),
            transfer_options(config),
            signature_policy(config),
        )
        admission = broadcast_admission(config)
        loop, pool, supervisor, notifier = EventLoop(), ThreadPool(1), Supervisor(), Notifier()
        updater = BroadcastConsumer(
            loop,
            BroadcastSettings(
                broker_settings(config.broker, f"fleet-updates {config.node}"),
                config.node,
                config.exchange,
                tuple(config.reply_queues),
            ),
            admission=admission,
            updates=updates,
            pool=pool,
            notifier=notifier,
            watchdog=Watchdog(notifier, supervisor),
        )
    except CollectionError as error:
        LOG.error("gave_up", error=str(error), code=error.code)
        return EXIT_CONFIG
    supervisor.watch(*pool.threads)
    ended_well = run_loop(
        loop,
        supervisor,
        signals=SIGNALS,
        on_signal=lambda _number: loop.add_callback_threadsafe(updater.stop),
        start_threads=pool.start,
        start=updater.start,
    )
    LOG.info("ended")
    return 0 if ended_well else EXIT_BROKEN
