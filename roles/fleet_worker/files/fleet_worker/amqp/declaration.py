# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of lanes: declare all queues, then bind them, and report each refusal by its lane.

The broker closes the channel after a refusal, so declarations have channels of their own. While a node of a cluster is
frozen, the other nodes answer no bind and declare no new queue, for a minute with the default net_ticktime. Meanwhile
existing queues can be consumed, and have their old bindings. So a declaration reports the declared queues after
``PATIENCE``, and the rest later. The broker also does not answer for a queue with a frozen leader. Such a queue is
tried again after the others, on another channel, because the other queues may expire during the wait.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.errors import BrokerError
from .._fleet.lanes import Lane
from .._fleet.topology import declare_error
from .reconnecting import ReconnectingConnection

Done = Callable[[dict[str, Optional[BrokerError]]], None]

#: Seconds after which a declaration reports the queues declared so far. A healthy broker declares hundreds in less.
PATIENCE = 5.0

#: The most seconds between two attempts for a queue without an answer. A shared lane expires after 60.
MOST_PATIENCE = 20.0


class Declaration:
    """Declares lanes once, over one connection.

    :param done: called with the result of each queue: ``None``, or the error of a refusal. Called once with all queues
        if the broker is quick, otherwise several times. A queue that is declared but not bound has two results. Not
        called after a lost connection.
    """

    def __init__(
        self,
        link: ReconnectingConnection,
        lanes: Sequence[Lane],
        exchanges: Sequence[str],
        settings: BrokerSettings,
        done: Done,
    ) -> None:
        self._link = link
        self._lanes = list(lanes)
        self._settings = settings
        self._done = done
        #: The results that have not been reported.
        self._results: dict[str, Optional[BrokerError]] = {}
        #: The remaining steps: declare a lane, or bind it to an exchange with a key.
        self._steps: deque[tuple[Lane, Optional[tuple[str, str]]]] = deque((lane, None) for lane in lanes)
        self._steps.extend((lane, (exchange, key)) for lane in lanes for exchange in exchanges for key in lane.keys)
        self._step: Optional[tuple[Lane, Optional[tuple[str, str]]]] = None
        #: The start of the current step, and the seconds without an answer after which the other queues go first.
        self._since = 0.0
        self._patience = PATIENCE
        self._channel: Any = None

    def start(self) -> None:
        self._link.call_later(PATIENCE, self._report_some)
        self._open()

    def _open(self) -> None:
        if not self._link.is_open:
            return  # the worker closes the connection, and the next connection declares all lanes
        channel = self._link.channel(on_open_callback=self._on_open)
        channel.add_on_close_callback(self._on_closed)

    def _on_open(self, channel: Any) -> None:
        self._channel = channel
        self._next()

    def _next(self) -> None:
        channel = self._channel
        if not channel.is_open:
            return  # the worker has closed the connection, but pika still passes on answers
        if not self._steps:
            self._step = None
            self._channel.close()
            self._report()
            return
        self._step = lane, binding = self._steps.popleft()
        self._since = time.monotonic()

        def answered(_frame: Any) -> None:
            if channel is not self._channel:
                # The lane was set aside, and is declared again on another channel.
                if channel.is_open:
                    channel.close()
                return
            if binding is None:
                self._results[lane.queue] = None
            self._next()

        if binding is None:
            channel.queue_declare(
                lane.queue, durable=True, auto_delete=False, arguments=lane.arguments, callback=answered
            )
        else:
            channel.queue_bind(lane.queue, *binding, callback=answered)

    def _report_some(self) -> None:
        """Report the known results while the broker is silent, and set a silent queue aside."""
        if self._step is None:
            return
        self._report()
        lane, binding = self._step
        # A check may come soon after the start of a step, so half of the patience is enough.
        if binding is None and self._channel is not None and time.monotonic() - self._since >= self._patience / 2:
            self._set_aside(lane)
        self._link.call_later(self._patience, self._report_some)

    def _set_aside(self, lane: Lane) -> None:
        """Declare a lane after the others, on another channel: the current channel waits for the queue's leader."""
        own = [step for step in self._steps if step[0] is lane]
        self._steps = deque([*(step for step in self._steps if step[0] is not lane), (lane, None), *own])
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._channel = None
        self._open()

    def _report(self) -> None:
        results, self._results = self._results, {}
        if results or not self._lanes:
            self._done(results)

    def _on_closed(self, channel: Any, error: BaseException) -> None:
        if self._step is None or channel is not self._channel or not isinstance(error, ChannelClosedByBroker):
            return
        lane, _binding = self._step
        refused = channel_error(error.reply_code, error.reply_text, self._settings)
        self._results[lane.queue] = declare_error(error.reply_code, error.reply_text, lane, refused)
        self._steps = deque(step for step in self._steps if step[0] is not lane)
        self._open()
