# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lanes are declared and then bound, one after the other, each refusal told apart.

A refusal closes the channel, which is why this has channels of its own. While a node of a cluster stands still, the
others answer no bind, and declare no queue that is new: for a minute, if nobody has set net_ticktime. A queue that is
there can be consumed meanwhile, and its bindings of before are there, too. So a declaration reports after ``PATIENCE``
which queues are declared, and later the rest. A queue whose own leader stands still is not answered for either: it is
tried again after the others, on another channel, lest it keep them waiting until theirs expire.

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

#: Seconds after which a declaration reports what is declared so far. A broker in order needs less for hundreds.
PATIENCE = 5.0

#: The most seconds between two tries of a queue that is not answered for. A lane that is shared expires after 60.
MOST_PATIENCE = 20.0


class Declaration:
    """Declares lanes once, over one connection.

    :param done: called with queues, and None or why each cannot be used: once with all of them if the broker is quick,
        else several times. A queue is named again that was declared and cannot be bound. Not called when the connection
        breaks.
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
        #: What was found out and is not told yet.
        self._results: dict[str, Optional[BrokerError]] = {}
        #: What is to be done: a lane is declared, or bound to an exchange with a key.
        self._steps: deque[tuple[Lane, Optional[tuple[str, str]]]] = deque((lane, None) for lane in lanes)
        self._steps.extend((lane, (exchange, key)) for lane in lanes for exchange in exchanges for key in lane.keys)
        self._step: Optional[tuple[Lane, Optional[tuple[str, str]]]] = None
        #: When the step began, and for how long a queue may be silent before the others go first.
        self._since = 0.0
        self._patience = PATIENCE
        self._channel: Any = None

    def start(self) -> None:
        self._link.call_later(PATIENCE, self._tell_some)
        self._open()

    def _open(self) -> None:
        channel = self._link.channel(on_open_callback=self._on_open)
        channel.add_on_close_callback(self._on_closed)

    def _on_open(self, channel: Any) -> None:
        self._channel = channel
        self._next()

    def _next(self) -> None:
        channel = self._channel
        if not channel.is_open:
            return  # the worker leaves: pika still hands on what the broker answers while it closes
        if not self._steps:
            self._step = None
            self._channel.close()
            self._tell()
            return
        self._step = lane, binding = self._steps.popleft()
        self._since = time.monotonic()

        def answered(_frame: Any) -> None:
            if channel is self._channel:  # else the lane was set aside, and is declared again
                if binding is None:
                    self._results[lane.queue] = None
                self._next()

        if binding is None:
            channel.queue_declare(
                lane.queue, durable=True, auto_delete=False, arguments=lane.arguments, callback=answered
            )
        else:
            channel.queue_bind(lane.queue, *binding, callback=answered)

    def _tell_some(self) -> None:
        """Tell what is known while the broker does not go on, and go on without a queue that is not answered for."""
        if self._step is None:
            return
        self._tell()
        lane, binding = self._step
        # The look is not in step with the steps: half of the time is silence enough.
        if binding is None and self._channel is not None and time.monotonic() - self._since >= self._patience / 2:
            self._set_aside(lane)
        self._link.call_later(self._patience, self._tell_some)

    def _set_aside(self, lane: Lane) -> None:
        """Declare a lane after the others, on another channel: the channel of now waits for the leader of its queue."""
        own = [step for step in self._steps if step[0] is lane]
        self._steps = deque([*(step for step in self._steps if step[0] is not lane), (lane, None), *own])
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._channel = None
        self._open()

    def _tell(self) -> None:
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
