# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signed broadcasts a node has taken: a file that survives the process, and has an end.

A broadcast is in it from before its import begins. What the broker redelivers is not a repetition, hence the state of
each: as long as a broadcast was taken and is not done, its redelivery goes on with it.

The file keeps the latest broadcasts. What it has forgotten cannot come back: of each that it drops it keeps the time of
the signature, and no unknown broadcast that was signed up to then is taken. The same holds for what was signed before
the file was begun, as after a loss of it. The times of signatures are those of senders, so that a jump of the node's
clock lets nothing come back.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Callable, Optional

from .._fleet.broadcast_signatures import SKEW, BroadcastExpiredError, SignedBroadcast
from .._fleet.errors import FleetError
from .._ollama.json_text import read_json
from ..logs.log import Log

LOG = Log()

#: Of the file. A file of another format is not read.
FORMAT = 1

#: Broadcasts that are kept: ten times as many as wait in the queue of a node, at most.
KEPT = 1000

#: Bytes of the file, at most; it has less than 100 for each broadcast.
MAX_SIZE = 1024 * 1024

#: States of a broadcast: its import may be under way, or was broken off; its last report is published.
TAKEN, DONE = "taken", "done"


class BroadcastRecordError(FleetError):
    """A broadcast cannot be recorded, so that nobody would notice its repetition."""

    code = "broadcast_record"


class BroadcastRecord:
    """The broadcasts that a node has taken. For one thread."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """
        :param clock: returns seconds since 1970.
        :raises BroadcastRecordError: if there is no file and none can be made.
        """
        self._path = path
        self._clock = clock
        #: When each was signed, and its state, by digest.
        self._known: dict[str, tuple[int, str]] = {}
        #: When the latest of those was signed that are forgotten.
        self._forgotten = 0
        #: When the record was begun, by the clock of the node.
        self._begun = clock()
        if not self._load():
            self._require_saved()

    def state_of(self, signed: SignedBroadcast) -> Optional[str]:
        """Return the state of a broadcast; None if it was not taken, as far as the record goes."""
        found = self._known.get(signed.digest)
        return None if found is None else found[1]

    def require_newer(self, signed: SignedBroadcast) -> None:
        """Check that a broadcast that is not in the record cannot have been in it.

        :raises BroadcastExpiredError: if it can.
        """
        now = self._clock()
        if self._begun > now + 2 * SKEW:  # it was begun under a wrong clock, and would keep every broadcast out
            self._begun = now
        if signed.signed_at <= self._forgotten or signed.signed_at < self._begun - SKEW:
            raise BroadcastExpiredError(
                "it was signed before anything that this node remembers, so it may be a repetition",
                remedy="Send it again",
            )

    def take(self, signed: SignedBroadcast) -> None:
        """Record a broadcast, before anything is done for it.

        :raises BroadcastRecordError: if the file cannot be written.
        """
        before = dict(self._known), self._forgotten
        self._known[signed.digest] = (signed.signed_at, TAKEN)
        while len(self._known) > KEPT:
            # Those that are done first: the redelivery of another must be known.
            digest = min(self._known, key=lambda each: (self._known[each][1] == TAKEN, self._known[each][0]))
            self._forgotten = max(self._forgotten, self._known.pop(digest)[0])
        try:
            self._require_saved()
        except BroadcastRecordError:
            self._known, self._forgotten = before
            raise

    def finish(self, digest: str) -> None:
        """Record that the last report on a broadcast is published: from now on even its redelivery does nothing."""
        found = self._known.get(digest)
        if found is None or found[1] == DONE:
            return
        self._known[digest] = (found[0], DONE)
        try:
            self._save()
        except OSError as error:  # its redelivery would repeat an import that changes nothing
            LOG.warning("broadcast_record_unwritable", path=self._path, error=str(error))

    def _load(self) -> bool:
        """Read the file; return whether it could be read."""
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
            # Nothing that was signed before now is taken.
            LOG.warning("broadcast_record_unreadable", path=self._path, error=f"{type(error).__name__}: {error}")
            self._begun = self._clock() + SKEW
            return False

    def _require_saved(self) -> None:
        try:
            self._save()
        except OSError as error:
            raise BroadcastRecordError(
                f"the record of broadcasts {self._path} cannot be written: {error.strerror}",
                remedy="Make room on the disk of the node, or correct the rights of the directory",
            ) from error

    def _save(self) -> None:
        content: dict[str, Any] = {
            "format": FORMAT,
            "begun": self._begun,
            "forgotten": self._forgotten,
            "broadcasts": self._known,
        }
        temporary = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _entry(signed_at: Any, state: Any) -> tuple[int, str]:
    if state not in (TAKEN, DONE):
        raise ValueError("an unknown state")
    return int(signed_at), state
