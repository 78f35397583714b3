# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A broadcast to all nodes, and the reports of the nodes that take it."""

from __future__ import annotations

import time
import uuid
from collections import deque
from typing import Callable, Optional

from .broadcast_signatures import SigningKey
from .broadcasts import KEY, NodeReport, Order, order_message, read_report
from .broker_connection import BrokerConnection
from .errors import NoFleetQueueError
from .messages import Message
from .reply_channel import PublishedMessage, ReplyChannel

#: Seconds between two checks whether the reports are complete, which may depend on the time.
LOOK_AGAIN = 0.25


class _PublishedOrder(PublishedMessage):
    def __init__(self, message_id: Optional[str]) -> None:
        super().__init__(message_id)
        self.reports: deque[NodeReport] = deque()

    def arrive(self, message: Message) -> None:
        report = read_report(message)
        if report is not None:
            self.reports.append(report)


def broadcast(
    connection: BrokerConnection,
    order: Order,
    *,
    exchange: str,
    seconds: float,
    on_report: Callable[[NodeReport], None],
    enough: Callable[[], bool],
    signer: Optional[SigningKey] = None,
) -> str:
    """Send an order to every node, and collect the reports; return the correlation id.

    :param seconds: the most seconds to wait for reports.
    :param on_report: called in this thread with each report.
    :param enough: returns whether the reports are complete.
    :param signer: signs the order; None leaves it unsigned.
    :raises NoFleetQueueError: if no node listens.
    :raises BrokerError: if the broker cannot be used; with the detail ``correlation_id`` if the connection was lost
        while reports were missing.
    """
    replies = ReplyChannel(connection)
    replies.open()
    correlation_id = f"bcast_{uuid.uuid4()}"
    message = order_message(order, correlation_id, replies.reply_to, seconds, signer)
    published = _PublishedOrder(message.properties.message_id)

    def complete() -> bool:
        while published.reports:
            on_report(published.reports.popleft())
        return enough()

    with replies.waiting(correlation_id, published):
        try:
            replies.publish(message, published, exchange, KEY + order.function)
        except NoFleetQueueError as error:
            error.remedy = "Check the exchange, and that the updates run on the nodes (fleet-worker updates)"
            raise
        deadline = time.monotonic() + seconds
        while not complete() and connection.gone is None and time.monotonic() < deadline:
            connection.wait_until(complete, min(LOOK_AGAIN, deadline - time.monotonic()))
        lost = connection.gone
        if lost is not None and not complete():
            lost.details["correlation_id"] = correlation_id
            lost.remedy = f"{lost.remedy}. The nodes that have the broadcast still execute it"
            raise lost
    return correlation_id
