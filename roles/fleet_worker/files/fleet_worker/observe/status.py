# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status socket: each connection receives one JSON document with the state of the worker."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any, Callable, Optional

from .._ollama.json_text import read_json
from .._ollama.text import printable
from ..logs.log import Log
from .listener import Listener

LOG = Log()

#: Seconds for the worker to answer, and for a client to read.
TIMEOUT = 5.0

#: The most shown characters of a line or a cell.
_LINE = 1000


class StatusServer:
    """Answers all clients that may connect to the socket.

    :param path: path of the socket; an existing socket is replaced.
    :param snapshot: returns the document; called from the thread of this object.
    """

    def __init__(self, path: str, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._path = Path(path)
        self._snapshot = snapshot
        self.listener: Optional[Listener] = None

    def start(self) -> None:
        """Start to listen. A worker that cannot listen logs the error, and continues."""
        sock = None
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(self._path))
            self._path.chmod(0o660)
            listener = Listener(sock, self._document, name="status")
            listener.start()
        except OSError as error:
            if sock is not None:
                sock.close()
            LOG.warning("no_status_socket", path=str(self._path), error=str(error))
            return
        self.listener = listener

    def stop(self) -> None:
        """Remove the socket."""
        if self.listener is not None:
            self.listener.stop()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _document(self, _received: bytes) -> bytes:
        # The connection itself is the request. One value that JSON does not support must not fail the whole status.
        return json.dumps(self._snapshot(), default=printable).encode()


def ask(path: str) -> dict[str, Any]:
    """Return the status document of a worker.

    :raises OSError: if no worker listens there.
    :raises ValueError: if another program answers.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2 * TIMEOUT)
        connection.connect(path)
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    found: dict[str, Any] = read_json(content)
    return found


def table(state: dict[str, Any]) -> str:
    """Return the state for people."""
    if "error" in state:
        return printable(state["error"], _LINE)
    up = time.time() - state["since"]
    lines = [
        printable(state["summary"], _LINE),
        f"broker {state['broker']} ({'connected' if state['connected'] else 'not connected'}), up {up:.0f} s",
        "",
    ]
    rows: list[tuple[object, ...]] = [("LANE", "STATE", "RUNNING", "ANSWERED", "MODEL", "REASON")]
    rows += [
        (lane["queue"], lane["state"], lane["running"], lane.get("answered", "-"), lane["model"], lane["reason"] or "-")
        for lane in state["lanes"]
    ]
    lines += _columns(rows)
    if state["in_flight"]:
        rows = [("REQUEST", "LANE", "SECONDS")]
        rows += [(one["correlation_id"] or "-", one["lane"], f"{one['seconds']:.1f}") for one in state["in_flight"]]
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
    lines += ["", " ".join(f"{printable(name)}={value}" for name, value in state["counters"].items())]
    return "\n".join(lines).rstrip()


def _columns(rows: list[tuple[object, ...]]) -> list[str]:
    """Return a table. A cell may have the text of a stranger, which must not forge a line of the table."""
    shown = [tuple(printable(cell, _LINE) for cell in row) for row in rows]
    widths = [max(len(row[index]) for row in shown) for index in range(len(shown[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in shown]
