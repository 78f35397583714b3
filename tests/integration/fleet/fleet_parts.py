# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts for tests of the fleet: an Ollama with scripted answers, a worker process, a configured broker.

The Ollama is a script where a failure has to be exact; the broker and the worker are always real.
"""

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
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional, Union

import pika
import pika.data
import yaml
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.broker_connection import BrokerConnection
from fleet_worker._fleet.requester import Requester
from fleet_worker._fleet.topology import definitions
from fleet_worker.observe.status import ask as ask_status
from services import free_port

SOURCES = Path(__file__).resolve().parents[3] / "roles" / "fleet_worker" / "files"

CHAT_MODEL = "smollm2:135m"
EMBED_MODEL = "all-minilm:latest"


class ScriptedOllama:
    """An Ollama whose answers a test decides.

    ``behave`` gets the path and the body of each inference and returns a status and a document, after as long as it
    likes; None cuts the connection. An iterator instead of a document is a stream, one document a line; when it raises
    ConnectionError the connection is cut there. Bytes instead of a document go out as they are, without the status, and
    the connection ends. ``inventory`` returns bytes for questions after the version and the models, or None.
    """

    def __init__(self, behave: Optional[Callable[[str, dict[str, Any]], Any]] = None) -> None:
        self.behave = behave or answer
        self.models = [CHAT_MODEL, EMBED_MODEL]
        self.abilities = {EMBED_MODEL: ["embedding"]}
        #: Instead of the list of models, when set.
        self.tags: Optional[dict[str, Any]] = None
        self.inventory: Callable[[], Optional[bytes]] = lambda: None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.cancelled = threading.Event()
        self._server: Optional[ThreadingHTTPServer] = None
        self._connections: list[socket.socket] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedOllama:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Answer, at the same address each time."""
        ollama = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                models = [{"name": name, "model": name, "digest": "0" * 64} for name in ollama.models]
                self._send(200, ollama.inventory() or ollama.tags or {"version": "0.24.0", "models": models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/api/show":
                    self._send(200, {"capabilities": ollama.abilities.get(body["model"], ["completion"])})
                    return
                ollama.calls.append((self.path, body))
                found = ollama.behave(self.path, body)
                if found is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self._send(*found)

            def _send(self, status: int, document: Any) -> None:
                if not isinstance(document, dict):
                    if not send_lines(self, status, document):
                        ollama.cancelled.set()
                    return
                content = json.dumps(document).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    self.wfile.flush()
                except OSError:
                    ollama.cancelled.set()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128  # a connection that finds no room waits for a second

            def process_request(self, request: Any, client_address: Any) -> None:
                ollama._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, *_arguments: Any) -> None:
                ollama.cancelled.set()

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop like a stopped process: refuse connections, break existing ones."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()


def send_lines(handler: BaseHTTPRequestHandler, status: int, documents: Union[bytes, Iterator[dict[str, Any]]]) -> bool:
    """Send a stream, or raw bytes; return whether it was sent to its end."""
    if isinstance(documents, bytes):
        handler.close_connection = True
        handler.wfile.write(documents)
        return True
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-ndjson")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for document in documents:
            line = json.dumps(document).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)
        return False
    return True


def answer(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer like an Ollama with a constant answer."""
    common = {"model": body["model"], "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    if path == "/api/embed":
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        return 200, {"model": body["model"], "embeddings": [[0.5, -0.5] for _text in texts], "prompt_eval_count": 3}
    if path == "/api/generate":
        return 200, {**common, "response": "Once there was"}
    return 200, {**common, "message": {"role": "assistant", "content": "Good morning."}}


class Slow:
    """Answers after a while, and counts its running inferences."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        self.begun.release()
        self.go_on.wait(self.seconds)
        return answer(path, body)

    def wait_for(self, number: int = 1, within: float = 20.0) -> None:
        """Wait until that many requests have begun."""
        for _one in range(number):
            if not self.begun.acquire(timeout=within):
                raise AssertionError(f"no request reached Ollama within {within} s")


@contextlib.contextmanager
def asking(settings: BrokerSettings, *, direct: bool = False) -> Iterator[Requester]:
    """Provide a requester with its own connection."""
    with BrokerConnection(settings) as connection:
        yield Requester(connection, direct=direct)


#: Makes the I/O thread of a worker hang, and nothing else of it, on SIGUSR2.
HANG = """
import gc, signal, time

def hang(_number, _frame):
    from fleet_worker.runtime.event_loop import EventLoop

    for found in gc.get_objects():
        if issubclass(type(found), EventLoop):  # isinstance would ask what is only a proxy, and perhaps of nothing
            found.add_callback_threadsafe(lambda: time.sleep(3600))

signal.signal(signal.SIGUSR2, hang)
"""


def hangable(directory: Path) -> dict[str, str]:
    """Return the environment of a worker whose I/O thread hangs on SIGUSR2. Python runs a sitecustomize by itself."""
    (directory / "sitecustomize.py").write_text(HANG)
    return {"PYTHONPATH": f"{directory}{os.pathsep}{SOURCES}"}


class WorkerProcess:
    """A worker, as systemd would run it: its own process, with credentials and a notify socket."""

    def __init__(self, directory: Path, configuration: dict[str, Any], *, password: str, **environment: str) -> None:
        self.directory = directory
        self.log_path = directory / "log"
        self.status_path = str(directory / "status.sock")
        (directory / "broker-password").write_text(password)
        self.config_path = directory / "fleet-worker.yml"
        self.config_path.write_text(yaml.safe_dump({"status_socket": self.status_path, **configuration}))
        self.told: list[str] = []
        self._changed = threading.Condition()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        threading.Thread(target=self._listen, daemon=True).start()
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "CREDENTIALS_DIRECTORY": str(directory),
            "NOTIFY_SOCKET": str(directory / "notify"),
            **environment,
        }
        command = [sys.executable, "-m", "fleet_worker", "run", "--config", str(self.config_path)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="backslashreplace")

    def status(self) -> dict[str, Any]:
        """The status of the worker, as soon as it answers."""
        found: dict[str, Any] = eventually(
            lambda: None if "error" in (state := self.status_now()) else state, "the status", 60, self
        )
        return found

    def status_now(self) -> dict[str, Any]:
        """The status, or the report that the main loop hangs."""
        return ask_status(self.status_path)

    def wait_ready(self, within: float = 60.0) -> WorkerProcess:
        self.wait_told("READY=1", within)
        return self

    def wait_told(self, beginning: str, within: float = 30.0) -> str:
        """Wait until the worker has notified systemd of something; return it."""
        found: list[str] = []

        def told() -> bool:
            found[:] = [word for word in self.told if word.startswith(beginning)]
            return bool(found) or self.process.poll() is not None

        with self._changed:
            self._changed.wait_for(told, within)
        if not found:
            raise AssertionError(f"systemd was not told {beginning} within {within} s:\n{self.log}")
        return found[-1]

    def wait_log(self, text: str, within: float = 30.0) -> str:
        """Wait until a line of the log has the text; return it."""
        return eventually(
            lambda: next((line for line in self.log.splitlines() if text in line), ""),
            f"{text!r} in the log",
            within,
            self,
        )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()

    def wait_end(self, within: float = 30.0) -> int:
        """Wait for its end; return its exit status."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {within} s:\n{self.log}") from None

    def close(self, *, show_log: bool = True) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._notify.close()
        if show_log:
            print(f"--- {self.directory.name}\n{self.log}")

    def _listen(self) -> None:
        while True:
            try:
                words = self._notify.recv(65536).decode().splitlines()
            except OSError:
                return
            with self._changed:
                self.told += words
                self._changed.notify_all()


def eventually(
    found: Callable[[], Any], what: str, within: float = 30.0, worker: Optional[WorkerProcess] = None
) -> Any:
    """Wait until a condition is true; return its value."""
    deadline = time.monotonic() + within
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}\n{worker.log if worker else ''}")
        time.sleep(0.02)


class RawTable(bytes):
    """A header table as bytes of the wire, for what pika does not write by itself."""


#: A timestamp in milliseconds. pika raises when it reads one.
ODD_TABLE = RawTable(b"\x01xT" + struct.pack(">Q", 1764312000000))


@contextlib.contextmanager
def raw_tables() -> Iterator[None]:
    """Make pika write a :class:`RawTable` unchanged."""
    encode = pika.data.encode_table

    def encode_table(pieces: list[bytes], table: Any) -> Any:
        if not isinstance(table, RawTable):
            return encode(pieces, table)
        pieces.append(struct.pack(">I", len(table)) + table)
        return 4 + len(table)

    pika.data.encode_table = encode_table
    try:
        yield
    finally:
        pika.data.encode_table = encode


def set_up_broker(broker: Any) -> None:
    """Set up a broker with the collection's own definitions."""
    import_definitions(broker, definitions("/"))


def import_definitions(broker: Any, document: dict[str, Any]) -> None:
    """Declare definitions over AMQP, which works in the same way on every series, and is complete on return."""
    with channel_to(broker) as channel:
        for exchange in document["exchanges"]:
            channel.exchange_declare(exchange["name"], exchange["type"], durable=exchange["durable"])
        for queue in document["queues"]:
            channel.queue_declare(queue["name"], durable=queue["durable"])
        for binding in document["bindings"]:
            channel.queue_bind(binding["destination"], binding["source"], binding["routing_key"])


def raise_alarm(broker: Any) -> None:
    """Raise the memory alarm of a broker; return when its connections have the notification."""
    broker.ctl("set_vm_memory_high_watermark", "0.0000001")
    eventually(lambda: "resource_limit" in broker.ctl("eval", "rabbit_alarm:get_alarms()."), "the alarm", 60)


@contextlib.contextmanager
def channel_to(broker: Any) -> Iterator[Any]:
    """A plain pika channel with confirms."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        if connection.is_open:
            connection.close()


def delete_queues(broker: Any, beginning: str) -> None:
    """Delete the queues of a test. RabbitMQ deletes an exclusive queue some time after its connection broke."""

    def gone() -> bool:
        left = [queue for queue in broker.queues() if queue.startswith(beginning)]
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker), channel_to(broker) as channel:
            for queue in left:
                channel.queue_delete(queue)
        return not left

    eventually(gone, f"no queue {beginning}*", 60)


def configuration(broker: Any, ollama_url: str, **others: Any) -> dict[str, Any]:
    """The configuration of a worker with a chat and an embedding lane; ``broker_*`` belongs to the broker's section."""
    section = {name[len("broker_") :]: others.pop(name) for name in list(others) if name.startswith("broker_")}
    return {
        "node": "gpu-01",
        "broker": {"addresses": [f"{broker.host}:{broker.port}"], "username": broker.username, **section},
        "ollama": {"host": ollama_url, "exclusive": False, **others.pop("ollama", {})},
        "lanes": [{"type": "chat", "model": CHAT_MODEL}, {"type": "embed", "model": EMBED_MODEL}],
        "exchanges": ["llm.request", "llm.fleet"],
        "metrics": {"listen": None},  # several workers share this machine
        **others,
    }
