# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Pull, push and create with a stall timeout: they may take any time while they make progress.

The server reports every 60 ms even without progress (server/download.go), so a read timeout does not detect a stall.
Only new bytes and new steps count as progress. The server is silent while it verifies or converts, so the read timeout
is as long as the stall timeout.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Optional

from .api_errors import (
    ApiError,
    ConnectionLostError,
    IncompleteResponseError,
    OllamaError,
    ReadTimeoutError,
    ServerUnreachableError,
)
from .byte_counter import ByteCounter
from .calls import Call
from .client import OllamaClient
from .retry import RetryPolicy
from .streams import ProgressStream

#: Seconds to wait for a server that stopped during a pull: a service manager restarts it after 3 seconds (RestartSec of
#: Ollama's own unit), and an upgrade takes longer.
RESTART_TIME = 60.0

# Ollama's messages for a failed connection to the registry, which may work later (server/download.go, images.go).
_PASSING = re.compile(
    r"max retries exceeded|digest mismatch|EOF|timeout|timed out|connection (reset|refused)|\b(429|50[0234])\b",
    re.IGNORECASE,
)


class StalledError(OllamaError):
    """There was no progress for too long, although the server still answers."""

    code = "stalled"


class LongCalls:
    """The long calls of a client.

    :param stall_timeout: seconds without a new byte or a new step.
    :param counter: records the bytes and the steps.
    """

    def __init__(
        self, client: OllamaClient, *, stall_timeout: float = 300.0, counter: Optional[ByteCounter] = None
    ) -> None:
        self._client = client
        self._stall_timeout = stall_timeout
        self._counter = counter or ByteCounter()

    def pull(self, name: str, *, insecure: bool = False, policy: Optional[RetryPolicy] = None) -> None:
        """Pull the model of this name from the registry to the server.

        After an interruption, such as a restart of the server or a failure of the registry, the pull is repeated, and
        Ollama resumes it. Only interruptions without progress in between count against the policy.

        :raises ModelNotFoundError: when the registry does not have the model.
        :raises StalledError: when there is no progress.
        :raises OllamaError: when the pull was interrupted too often, or was refused.
        """
        policy = policy or RetryPolicy()
        watch = _Watch(self._stall_timeout)
        failures = 0
        while True:
            try:
                with self._client.pull(name, insecure=insecure, call=self._call()) as stream:
                    self._follow(stream, f"The pull of {name}", watch, name)
                return
            except OllamaError as error:
                failures = 1 if watch.advanced() else failures + 1
                if failures > policy.retries or not _passes(error):
                    raise
                time.sleep(policy.delay(failures))
                self._wait_for_server(error)

    def push(self, name: str, *, insecure: bool = False) -> None:
        """Push the model of this name from the server to the registry.

        :raises StalledError: when there is no progress.
        """
        with self._client.push(name, insecure=insecure, call=self._call()) as stream:
            self._follow(stream, f"The push of {name}", _Watch(self._stall_timeout), name)

    def create(self, name: str, body: Mapping[str, Any]) -> None:
        """Create a model.

        :raises StalledError: when there is no progress.
        """
        with self._client.create(name, call=self._call(), **body) as stream:
            self._follow(stream, f"The creation of {name}", _Watch(self._stall_timeout), name)

    def _call(self) -> Call:
        return Call(read_timeout=self._stall_timeout)

    def _follow(self, stream: ProgressStream, what: str, watch: _Watch, name: str) -> None:
        for document in stream:
            if watch.stalls(document):
                step = str(document.get("status"))
                raise StalledError(
                    f"{what} by {self._client.url} has not moved for {watch.timeout:g} seconds, at {step!r}",
                    remedy="Look at the network between server and registry, or allow more time (stall_timeout)",
                    step=step,
                )
            self._counter.follow(name, document)

    def _wait_for_server(self, cause: OllamaError) -> None:
        deadline = time.monotonic() + RESTART_TIME
        while True:
            try:
                self._client.version(call=Call(total_timeout=10.0))
                return
            except OllamaError as error:
                if time.monotonic() > deadline:
                    raise error from cause
                time.sleep(1.0)


class _Watch:
    """Detects a stall."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._last: dict[object, int] = {}
        self._best: dict[object, int] = {}
        self._moved = time.monotonic()
        self._advanced = False

    def stalls(self, document: Mapping[str, Any]) -> bool:
        """Process a report; return whether there was no progress for too long."""
        now = time.monotonic()
        step = document.get("digest") or document.get("status")
        completed = document.get("completed") or 0
        if completed != self._last.get(step):  # also when it falls: Ollama drops bytes that it could not verify
            self._last[step] = completed
            self._moved = now
        if completed > self._best.get(step, 0):
            self._best[step] = completed
            self._advanced = True
        return now - self._moved > self.timeout

    def advanced(self) -> bool:
        """Return whether bytes arrived since the last call; restart the clock."""
        advanced, self._advanced = self._advanced, False
        self._moved = time.monotonic()
        return advanced


def _passes(error: OllamaError) -> bool:
    if isinstance(error, ApiError):
        return error.status == 200 and bool(_PASSING.search(error.server_message))
    return isinstance(error, (IncompleteResponseError, ConnectionLostError, ReadTimeoutError, ServerUnreachableError))
