# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts for tests of the gateway: the gateway as its own process, and an Ollama that speaks word by word."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import yaml
from fleet_parts import CHAT_MODEL, EMBED_MODEL, eventually
from services import free_port

SOURCES = Path(__file__).resolve().parents[3] / "roles" / "fleet_gateway" / "files"
sys.path.insert(0, str(SOURCES))

LANES = [
    {"type": "chat", "model": CHAT_MODEL},
    {"type": "generate", "model": CHAT_MODEL},
    {"type": "embed", "model": EMBED_MODEL},
]


class Answered(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class GatewayProcess:
    """A gateway, as systemd would run it."""

    def __init__(self, directory: Path, broker: Any, **settings: Any) -> None:
        directory.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = directory / "state"
        self.config_path = directory / "fleet-gateway.yml"
        self.keys_path = directory / "keys.yml"
        self.log_path = directory / "log"
        (directory / "broker-password").write_text(broker.password)
        keys = settings.pop("keys", None)
        if keys is not None:
            self.write_keys(keys)
        configured = {
            "node": directory.name,
            "broker": {"addresses": [f"{broker.host}:{broker.port}"], "username": broker.username},
            "listen": f"127.0.0.1:{self.port}",
            "state_directory": str(self.state),
            "keys_file": None if keys is None else str(self.keys_path),
            **settings,
        }
        self.config_path.write_text(yaml.safe_dump(configured))
        self.environment = {**os.environ, "PYTHONPATH": str(SOURCES), "CREDENTIALS_DIRECTORY": str(directory)}
        self.start()

    def start(self) -> None:
        """Start, or start again after an end."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run"), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "fleet_gateway", *words, "--config", str(self.config_path)]

    def write_keys(self, keys: list[dict[str, Any]]) -> None:
        fresh = self.keys_path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump({"keys": keys}))
        fresh.replace(self.keys_path)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="backslashreplace")

    def ask(
        self, path: str, body: Any = None, *, key: Optional[str] = None, method: Optional[str] = None, **headers: str
    ) -> Answered:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["Authorization"] = f"Bearer {key}"
        asked = urllib.request.Request(self.url + path, content, named, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return Answered(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answered(error.code, error.headers, error.read())

    def status(self) -> dict[str, Any]:
        return dict(self.ask("/status").document)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError):
            return self.ask("/readyz").status == 200
        return False

    def wait_ready(self) -> GatewayProcess:
        eventually(self._ready, "the gateway to be ready", 40)
        return self

    def _answering(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError):
            return self.ask("/status").document["connected"] is True
        return False

    def wait_answering(self) -> GatewayProcess:
        """Wait until the gateway answers and is connected to the broker, with or without nodes."""
        eventually(self._answering, "the gateway to answer", 40)
        return self

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        print(f"--- {self.config_path.parent.name}\n{self.log}")


class Connection:
    """A client that sends exactly the bytes of a test."""

    def __init__(self, gateway: Any) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)

    def post(self, path: str, body: Any, **headers: str) -> Connection:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        self.socket.sendall(head.encode() + b"\r\n" + content)
        return self

    def read_until(self, wanted: bytes) -> bytes:
        seen = b""
        while wanted not in seen:
            data = self.socket.recv(65536)
            assert data, seen
            seen += data
        return seen

    def read_to_end(self) -> bytes:
        seen = b""
        while data := self.socket.recv(65536):
            seen += data
        return seen

    def hang_up(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Stepwise:
    """An Ollama that streams a word each time a test releases ``step``."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def __call__(self, _path: str, body: dict[str, Any]) -> Any:
        return 200, self._lines(body)

    def _lines(self, _body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.begun.release()
        for word in ("one", "two", "three"):
            yield {"message": {"content": word}, "done": False}
            assert self.step.acquire(timeout=60)
        yield {"message": {"content": ""}, "done": True, "prompt_eval_count": 3, "eval_count": 3}
