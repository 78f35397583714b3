# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configured broker and a worker process, for tests that do not use the collection's code."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pika
import pytest
import yaml

SOURCES = Path(__file__).resolve().parents[3] / "roles" / "fleet_worker" / "files"


@pytest.fixture(scope="module")
def broker_with_topology(broker: Any) -> Any:
    """A broker with the exchanges and the dead-letter queue that its set-up declares."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    channel = connection.channel()
    for exchange in ("llm.request", "llm.fleet"):
        channel.exchange_declare(exchange, "topic", durable=True)
    channel.exchange_declare("ollama.dlx", "fanout", durable=True)
    channel.queue_declare("ollama.dlx.queue", durable=True)
    channel.queue_bind("ollama.dlx.queue", "ollama.dlx", "#")
    connection.close()
    return broker


@pytest.fixture(scope="module")
def start_worker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A context manager that runs a worker with the given configuration, from READY to its end; yields its log.

    ``secrets`` are further credentials, by their names.
    """

    @contextlib.contextmanager
    def started(broker: Any, secrets: Optional[dict[str, str]] = None, **configuration: Any) -> Iterator[Path]:
        directory = tmp_path_factory.mktemp("worker")
        for name, secret in (secrets or {}).items():
            (directory / name).write_text(secret)
        (directory / "broker-password").write_text(broker.password)
        config = directory / "fleet-worker.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "broker": {"addresses": [f"{broker.host}:{broker.port}"], "username": broker.username},
                    "status_socket": str(directory / "status.sock"),
                    "metrics": {"listen": None},
                    **configuration,
                }
            )
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (directory / "log").open("wb") as log:
            notify.bind(str(directory / "notify"))
            notify.settimeout(60)
            environment = {
                **os.environ,
                "PYTHONPATH": str(SOURCES),
                "CREDENTIALS_DIRECTORY": str(directory),
                "NOTIFY_SOCKET": str(directory / "notify"),
            }
            command = [sys.executable, "-m", "fleet_worker", "run", "--config", str(config)]
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                try:
                    while "READY=1" not in notify.recv(65536).decode().splitlines():
                        pass
                except TimeoutError:
                    raise AssertionError(f"the worker is not ready:\n{(directory / 'log').read_text()}") from None
                yield directory / "log"
            finally:
                process.terminate()
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                print((directory / "log").read_text())

    return started
