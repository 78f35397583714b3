# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the worker is, told over a local socket: a connection gets one JSON document."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable

from .logs import Log

LOG = Log()

#: Seconds for the worker to tell, and for a client to read.
TIMEOUT = 5.0


class StatusServer:
    """Tells everybody who may connect to the socket.

    :param path: of the socket, which is made anew.
    :param snapshot: returns what to tell; called from the thread of this object.
    """

    def __init__(self, path: str, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._path = Path(path)
        self._snapshot = snapshot
        self._socket = socket.socket(socket.AF_UNIX)

    def start(self) -> None:
        """Listen. Without a socket the worker works all the same, and says that it has none."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            self._socket.bind(str(self._path))
            self._path.chmod(0o660)
            self._socket.listen()
        except OSError as error:
            LOG.warning("no_status_socket", path=str(self._path), error=str(error))
            return
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def stop(self) -> None:
        """Take the socket away."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _run(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return  # closed
            with connection, contextlib.suppress(OSError):
                connection.settimeout(TIMEOUT)
                connection.sendall(json.dumps(self._snapshot()).encode())


def ask(path: str) -> dict[str, Any]:
    """Return what a worker tells of itself.

    :raises OSError: when none listens there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2 * TIMEOUT)
        connection.connect(path)
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    found: dict[str, Any] = json.loads(content)
    return found


def table(state: dict[str, Any]) -> str:
    """Return the state for people."""
    if "error" in state:
        return str(state["error"])
    up = time.time() - state["since"]
    lines = [
        state["summary"],
        f"broker {state['broker']} ({'connected' if state['connected'] else 'not connected'}), up {up:.0f} s",
        "",
    ]
    rows: list[tuple[str, ...]] = [("LANE", "STATE", "RUNNING", "MODEL", "REASON")]
    rows += [
        (lane["queue"], lane["state"], str(lane["running"]), lane["model"], lane["reason"] or "-")
        for lane in state["lanes"]
    ]
    lines += _columns(rows)
    if state["in_flight"]:
        rows = [("REQUEST", "LANE", "SECONDS")]
        rows += [
            (str(one["correlation_id"] or "-"), one["lane"], f"{one['seconds']:.1f}") for one in state["in_flight"]
        ]
        lines += ["", *_columns(rows)]
    rows = [("RATES", "REQUESTS/S", "FAILURES/S", "TOKENS/S", "SECONDS EACH")]
    rows += [
        (
            f"last {span}",
            f"{rate['requests_per_second']:.2f}",
            f"{rate['failures_per_second']:.2f}",
            f"{rate['output_tokens_per_second']:.1f}",
            "-" if rate["mean_inference_seconds"] is None else f"{rate['mean_inference_seconds']:.2f}",
        )
        for span, rate in state["rates"].items()
    ]
    lines += ["", *_columns(rows)]
    lines += ["", " ".join(f"{name}={value}" for name, value in state["counters"].items())]
    return "\n".join(lines).rstrip()


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
