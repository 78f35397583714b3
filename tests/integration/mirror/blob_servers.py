# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service by which a node hands out blobs, as a process on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SERVER = Path(__file__).resolve().parents[3] / "roles/ollama_models/files"
SECRET = "0123456789abcdef" * 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    path: Path, models: Sequence[str] = ("*",), prefix: Sequence[str] = (), **changes: Any
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A blob server over a store; yields its address and its process.

    :param prefix: the beginning of its command line, such as that of nice(1).
    """
    port = free_port()
    secret, config = path.parent / f"{path.name}.secret", path.parent / f"{path.name}.json"
    secret.write_text(SECRET + "\n")
    given = {"listen": "127.0.0.1", "port": port, "models_path": str(path), "models": list(models)}
    config.write_text(json.dumps({**given, "secret_file": str(secret), "max_uploads": 8, **changes}))
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "blob_server", str(config)], env={**os.environ, "PYTHONPATH": str(SERVER)}
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def serving(path: Path, models: Sequence[str] = ("*",), **changes: Any) -> Iterator[str]:
    """A blob server over a store; yields its address."""
    with running(path, models, **changes) as (address, _process):
        yield address
