# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admission of broadcasts: with a key of the fleet, only signed, valid and new broadcasts pass."""

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
class AdmittedBroadcast:
    """A broadcast that may be carried out.

    :ivar identity: an identifier that only the deliveries of this broadcast share; empty if it has none.
    :ivar is_done: whether the import has ended and the last report is published, so that nothing is left to do.
    """

    identity: str
    is_done: bool = False


class BroadcastAdmission:
    """Decides about the broadcasts of a node. For one thread.

    :param mode: ``off`` checks no signatures, ``warn`` logs a problem, ``enforce`` refuses the broadcast.
    :param keys: the keys whose signatures are valid.
    :param record: the taken broadcasts; required unless the mode is off.
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

    def admit(self, message: Message, order: Order, redelivered: bool) -> AdmittedBroadcast:
        """Admit a broadcast that may be carried out, and record it if it is signed.

        :param redelivered: whether the broker marks this message as a redelivery. No sender can write that mark.
        :raises FleetError: if the broadcast may not be carried out.
        """
        if self._mode == OFF or self._record is None:
            return AdmittedBroadcast(_identity(message))
        try:
            return self._checked(verified(message, self._keys), self._record, redelivered)
        except FleetError as error:
            what = f"{printable(order.function)} of {printable(order.model)}"
            error.message = f"The policy {self._mode} of {self._node} does not let {what} pass: {error.message}"
            if self._mode == ENFORCE:
                raise
            LOG.warning("broadcast_not_as_signed", error=str(error), code=error.code)
            return AdmittedBroadcast(_identity(message))

    def finish(self, identity: str) -> None:
        """Note that the last report on a broadcast is published."""
        if self._record is not None:
            self._record.finish(identity)

    def _checked(self, signed: SignedBroadcast, record: BroadcastRecord, redelivered: bool) -> AdmittedBroadcast:
        state = record.state_of(signed)
        if state is not None and not redelivered:
            raise BroadcastRepeatedError(
                f"this node has already taken this broadcast (signed at {signed.signed_at})",
                remedy="Sign and send a new broadcast. A program must sign each broadcast that it sends",
            )
        if state is None:
            signed.require_current(self._clock())
            record.require_newer(signed)
            record.take(signed)
        # A redelivery may arrive hours after the broadcast, which was valid when the node took it.
        return AdmittedBroadcast(signed.digest, is_done=state == DONE)


def _identity(message: Message) -> str:
    """Return an identifier that only the deliveries of one broadcast share.

    The sender chooses the message id. Another broadcast with the id of a running broadcast must not count as its
    redelivery, or it would be lost. Without an id, equal broadcasts do not count as redeliveries.
    """
    properties = message.properties
    if not properties.message_id:
        return ""
    function = message.headers.get("function")  # the broker adds the other headers, and changes them
    parts = (properties.message_id, properties.correlation_id, properties.reply_to, function)
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace") + message.body).hexdigest()
