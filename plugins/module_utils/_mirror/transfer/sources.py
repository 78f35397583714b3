# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Objects of the mirror as sources of the transfer engine."""

from __future__ import annotations

import threading

from ..errors import ObjectChangedError, ObjectMissingError, WrongDigestError
from ..s3.mirror import Mirror
from ..s3.object_stream import ObjectStream
from ..s3.objects import ObjectState


class ObjectSource:
    """The content of one object, as its state describes it.

    :ivar version: how often another object has taken its place.
    """

    def __init__(self, mirror: Mirror, state: ObjectState) -> None:
        self.version = 0
        self._mirror = mirror
        self._state = state
        self._lock = threading.Lock()

    def open(self, start: int, stop: int) -> ObjectStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive.

        :raises ObjectChangedError: if another object has taken its place.
        """
        state = self._state
        try:
            return self._mirror.open(state.key, start, stop, state.size, state.etag)
        except ObjectChangedError as error:
            if error.details.get("status") != 412 or not self._mirror.refuses_its_etag(state):
                raise
        return self._mirror.open(state.key, start, stop, state.size, "")

    def name_damage(self, error: WrongDigestError, *, checksum_given: bool = False) -> None:
        """Name the damaged object in an error, and the remedy.

        :param checksum_given: whether a person gave the digest, rather than a manifest or the mirror.
        """
        url = self._mirror.settings.url(self._state.key)
        error.message = f"The content of {url} has the digest {error.details['found']}, not {error.details['digest']}"
        error.details["endpoint"] = self._mirror.settings.where
        error.details["key"] = self._state.key
        if checksum_given and self._state.digest is None:
            error.remedy = "Correct checksum or key, or publish the right file"
        else:
            # Publishing alone would not help: the damaged object has the right size and the right recorded digest.
            error.remedy = (
                "The object is damaged, or a proxy changes it: remove the object from the bucket and publish it again"
            )

    def refresh(self, version: int) -> bool:
        """Read from the object that has replaced the one of a version, if it can have the same content.

        All running requests fail when an object is replaced. The first of them looks for the new object.

        :param version: the version when the failed request began.
        :return: whether this call has looked for the new object.
        :raises ObjectMissingError: if the object was removed.
        :raises ObjectChangedError: if the object has another size.
        """
        with self._lock:
            if version != self.version:
                return False
            url = self._mirror.settings.url(self._state.key)
            state = self._mirror.find(self._state.key)
            if state is None:
                raise ObjectMissingError(
                    f"{url} was removed during the read", remedy="Publish it again", key=self._state.key
                )
            if state.size != self._state.size:
                raise ObjectChangedError(
                    f"{url} had {self._state.size} bytes and was replaced by {state.size} while it was being read",
                    remedy="Run again; if this persists, publish the object again",
                    key=self._state.key,
                )
            self._state = state
            self.version += 1
            return True
