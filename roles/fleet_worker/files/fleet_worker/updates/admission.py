# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which broadcasts a node carries out: with a key of the fleet, those that are signed, valid and not repetitions."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Callable, Optional

from .._fleet.broadcast_signatures import KnownKeys, SignedBroadcast, verified
from .._fleet.broadcasts import BroadcastRepeatedError, Order
from .._fleet.errors import FleetError
from .._fleet.messages import Message
from .._mirror.signing.policy import ENFORCE, OFF
from .._ollama.text import printable
from ..logs.log import Log
from .broadcast_record import DONE, BroadcastRecord

LOG = Log()


@dataclass(frozen=True)
class Admitted:
    """A broadcast that may be carried out.

    :ivar identity: what it has in common with its redeliveries, and not with another broadcast; empty without any.
    :ivar is_done: whether it was carried out, and its last report published: nothing is left to do.
    """

    identity: str
    is_done: bool = False


class Admission:
    """Decides about the broadcasts of a node. For one thread.

    :param mode: ``off`` looks at no signature, ``warn`` logs what is wrong, ``enforce`` refuses it.
    :param keys: whose signatures count.
    :param record: the broadcasts that were taken; needed unless the mode is off.
    :param clock: returns seconds since 1970.
    """

    def __init__(
        self,
        node: str,
        mode: str,
        keys: KnownKeys,
        record: Optional[BroadcastRecord],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._mode = mode
        self._keys = keys
        self._record = record
        self._clock = clock

    def admit(self, message: Message, order: Order, redelivered: bool) -> Admitted:
        """Return what a broadcast is known by, if it may be carried out. A signed one is recorded.

        :param redelivered: whether the broker says that it has given this very message out before. No sender can
            write that into a message.
        :raises FleetError: if it may not.
        """
        if self._mode == OFF or self._record is None:
            return Admitted(_identity(message))
        try:
            return self._checked(verified(message, self._keys), self._record, redelivered)
        except FleetError as error:
            what = f"{printable(order.function)} of {printable(order.model)}"
            error.message = f"The policy {self._mode} of {self._node} does not let {what} pass: {error.message}"
            if self._mode == ENFORCE:
                raise
            LOG.warning("broadcast_not_as_signed", error=str(error), code=error.code)
            return Admitted(_identity(message))

    def finish(self, identity: str) -> None:
        """Note that the last report on a broadcast is published."""
        if self._record is not None:
            self._record.finish(identity)

    def _checked(self, signed: SignedBroadcast, record: BroadcastRecord, redelivered: bool) -> Admitted:
        state = record.state_of(signed)
        if state is not None and not redelivered:
            raise BroadcastRepeatedError(
                f"this node has taken it before (signed at {signed.signed_at})",
                remedy="Send a new one; a program that sends must sign each broadcast anew",
            )
        if state is None:
            signed.require_current(self._clock())
            record.require_newer(signed)
            record.take(signed)
        # A redelivery may come hours after the broadcast: it was valid when it was taken.
        return Admitted(signed.digest, is_done=state == DONE)


def _identity(message: Message) -> str:
    """Return what a redelivery of a broadcast has in common with it, and another broadcast has not.

    The sender chooses the message id: another broadcast with the id of a broadcast under way must not count as its
    redelivery, and so be lost. Without an id, equal broadcasts do not count as redeliveries.
    """
    properties = message.properties
    if not properties.message_id:
        return ""
    function = message.headers.get("function")  # the other headers are the broker's, and change with each delivery
    parts = (properties.message_id, properties.correlation_id, properties.reply_to, function)
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace") + message.body).hexdigest()
