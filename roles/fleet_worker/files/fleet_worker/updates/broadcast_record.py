# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of signed broadcasts that a node has taken: a file of limited size that survives the process.

The node records a broadcast before its import begins. A redelivery by the broker is not a repetition, so the record has
a state for each broadcast: the redelivery of a broadcast that is taken and not done resumes its import.

The file keeps the latest broadcasts, and the latest time of the signatures that it has dropped. The node refuses
unknown broadcasts that were signed before that time, so a dropped broadcast cannot be repeated. The node also refuses
broadcasts that were signed before the file was created, for example after a loss of the file. The times of signatures
are those of the senders, so a jump of the node's clock permits no repetition.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable, Optional

from .._fleet.broadcast_signatures import SKEW, BroadcastExpiredError, SignedBroadcast
from .._fleet.errors import FleetError
from .._ollama.errors import CollectionError
from .._ollama.json_text import read_json
from .._ollama.safe_fs import Directory, DirectoryError, Ownership
from ..logs.log import Log

LOG = Log()

#: The format of the file. The node does not read a file of another format.
FORMAT = 1

#: The most kept broadcasts: ten times the limit of a node's queue.
KEPT = 1000

#: The most bytes of the file, which has less than 100 for each broadcast.
MAX_SIZE = 1024 * 1024

#: Only the user of the updates reads the file.
_OWNERSHIP = Ownership(None, None, 0o600, 0o700)

#: The states of a broadcast: its import may run, or may have been interrupted; its last report is published.
TAKEN, DONE = "taken", "done"


class BroadcastRecordError(FleetError):
    """A broadcast cannot be recorded, so that nobody would notice its repetition."""

    code = "broadcast_record"


class BroadcastRecord:
    """The broadcasts that a node has taken. For one thread."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """
        :param clock: returns seconds since 1970.
        :raises BroadcastRecordError: if the file does not exist and cannot be created.
        """
        self._path = path
        self._clock = clock
        #: The time of the signature and the state of each broadcast, by digest.
        self._known: dict[str, tuple[int, str]] = {}
        #: The latest time of a dropped signature.
        self._forgotten = 0
        #: The time when the file was created, by the clock of the node.
        self._begun = clock()
        if not self._load():
            self._require_saved()

    def state_of(self, signed: SignedBroadcast) -> Optional[str]:
        """Return the state of a broadcast; None for an unknown broadcast."""
        found = self._known.get(signed.digest)
        return None if found is None else found[1]

    def require_newer(self, signed: SignedBroadcast) -> None:
        """Check that an unknown broadcast cannot be a dropped one.

        :raises BroadcastExpiredError: if it can.
        """
        now = self._clock()
        if self._begun > now + 2 * SKEW:  # created under a wrong clock, the file would refuse every broadcast
            self._begun = now
        if signed.signed_at <= self._forgotten or signed.signed_at < self._begun - SKEW:
            raise BroadcastExpiredError(
                "it was signed before anything that this node remembers, so it may be a repetition",
                remedy="Send it again",
            )

    def take(self, signed: SignedBroadcast) -> None:
        """Record a broadcast, before its import begins.

        :raises BroadcastRecordError: if the file cannot be written.
        """
        before = dict(self._known), self._forgotten
        self._known[signed.digest] = (signed.signed_at, TAKEN)
        while len(self._known) > KEPT:
            # Drop done broadcasts first, because the redelivery of another one must find its state.
            digest = min(self._known, key=lambda each: (self._known[each][1] == TAKEN, self._known[each][0]))
            self._forgotten = max(self._forgotten, self._known.pop(digest)[0])
        try:
            self._require_saved()
        except BroadcastRecordError:
            self._known, self._forgotten = before
            raise

    def finish(self, digest: str) -> None:
        """Record that the last report on a broadcast is published, so that a redelivery repeats nothing."""
        found = self._known.get(digest)
        if found is None or found[1] == DONE:
            return
        self._known[digest] = (found[0], DONE)
        try:
            self._save()
        except CollectionError as error:  # a redelivery would only repeat an import that changes nothing
            LOG.warning("broadcast_record_unwritable", path=self._path, error=str(error))

    def _load(self) -> bool:
        """Read the file; return whether it is readable."""
        try:
            with open(self._path, "rb") as file:
                raw = file.read(MAX_SIZE + 1)
            content = read_json(raw)
            if len(raw) > MAX_SIZE or content["format"] != FORMAT:
                raise ValueError("another format")
            known = {digest: _entry(*entry) for digest, entry in content["broadcasts"].items()}
            self._forgotten, self._begun = int(content["forgotten"]), float(content["begun"])
            self._known = known
            return True
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            # Without the record, refuse all broadcasts that were signed before now.
            LOG.warning("broadcast_record_unreadable", path=self._path, error=f"{type(error).__name__}: {error}")
            self._begun = self._clock() + SKEW
            return False

    def _require_saved(self) -> None:
        try:
            self._save()
        except CollectionError as error:
            raise BroadcastRecordError(
                f"The record of broadcasts was not written: {error.message}", remedy=error.remedy
            ) from error

    def _save(self) -> None:
        """Replace the file.

        :raises CollectionError: if the old file stays.
        """
        content: dict[str, Any] = {
            "format": FORMAT,
            "begun": self._begun,
            "forgotten": self._forgotten,
            "broadcasts": self._known,
        }
        path, name = os.path.split(self._path)
        directory = Directory.open(path)
        if directory is None:
            raise DirectoryError(
                f"{path} does not exist", remedy="Create the directory, owned by the user of the updates"
            )
        with directory:
            temporary = f"{name}.new"
            directory.write(temporary, json.dumps(content, separators=(",", ":")).encode("ascii"), _OWNERSHIP)
            directory.move(temporary, directory, name)


def _entry(signed_at: Any, state: Any) -> tuple[int, str]:
    if state not in (TAKEN, DONE):
        raise ValueError("an unknown state")
    return int(signed_at), state
