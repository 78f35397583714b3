# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real parts that tests run against: VersityGW, Ollama and RabbitMQ, each started on an address of its own.

Every function here is a context manager that yields when the part answers and takes away exactly what it started, also
after an exception or when the test process is killed. Logs stay in the directory named by `LAB_LOGS` when that is set.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional, Union

import abandoned
from undo import UndoList

LAB = Path(__file__).resolve().parent

# Answers each line of its input with the names of the broker's queues, one a line, and an empty line.
_LISTER = """
F = fun F() ->
    case io:get_line("") of
        eof -> halt();
        _ ->
            Names = rpc:call('rabbit@localhost', rabbit_amqqueue, list_names, []),
            [io:format("~ts~n", [element(4, Name)]) || Name <- Names],
            io:format("~n"),
            F()
    end
end,
F().
"""

# Ollama and VersityGW answer in under 2 s and RabbitMQ in about 10 s on an idle machine; builds run beside the tests.
READY_WITHIN = 120.0

_undo = UndoList()


def part(name: str) -> Path:
    """The directory of a part of the lab, built first if the cache lacks it."""
    printed = subprocess.run([str(LAB / "parts.sh"), "path", name], check=True, stdout=subprocess.PIPE, text=True)
    return Path(printed.stdout.strip())


def model_store() -> Path:
    """A store with `smollm2:135m` (chat, generate) and `all-minilm:latest` (embed). Shared: read it, or copy it."""
    return part("models") / "models"


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A loopback port that stays ours until this process ends, also while its server is stopped.

    A socket that is bound and does not listen keeps it from everybody who lets the system choose a port. A server that
    names it can still listen there, with SO_REUSEADDR; until then connections are refused (socket(7)).
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _reserved.append(sock)
    port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A directory that is gone afterwards, whatever happens."""
    path = Path(tempfile.mkdtemp(prefix=f"legionio-{name}-{abandoned.owner()}-"))
    entry = _undo.add("rm", "-rf", str(path))
    try:
        yield path
    finally:
        logs = os.environ.get("LAB_LOGS")
        if logs:
            for log in path.glob("*.log"):
                shutil.copy(log, Path(logs) / f"{path.name}-{log.name}")
        shutil.rmtree(path, ignore_errors=True)
        _undo.drop(entry)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system in memory at a directory that is made for it, gone afterwards.

    :param size: of its contents, as mount(8) has it.
    """
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    path.mkdir()
    entry = _undo.add(*as_root, "umount", "--lazy", str(path))
    source = f"legionio-{abandoned.owner()}"
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={size},mode=777", source, str(path)]
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run([*as_root, "umount", "--lazy", str(path)], check=True)
        _undo.drop(entry)


def _answers(url: str) -> bool:
    try:
        # A server that has a private authority's certificate answers too; who that is, is the tests' affair.
        context = ssl._create_unverified_context() if url.startswith("https:") else None  # noqa: S323
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _wait(what: str, ready: Callable[[], bool], failed: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not ready():
        gone = failed()
        if gone or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"
            raise RuntimeError(f"{what} {'ended' if gone else f'did not answer within {READY_WITHIN:.0f} s'}:\n{tail}")
        time.sleep(0.05)


class Server:
    """One process that answers HTTP on a loopback port; it can be stopped, killed and started again there."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], probe: str, log: Path) -> None:
        self._name = name
        self._command = command
        self._env = dict(env)
        self._probe = probe
        self._log = log
        self._entry: tuple[str, ...] = ()
        self.process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            # A group of its own, because Ollama's runners are children that outlive a killed server.
            process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.process = process
        self._entry = _undo.add("kill", "-9", "--", f"-{process.pid}")
        _wait(self._name, self._ready, lambda: process.poll() is not None, self._log)

    def _ready(self) -> bool:
        return _answers(self._probe)

    def stop(self) -> None:
        """Stop the process as its service manager would, and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and its children."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        _undo.drop(self._entry)


class S3Server(Server):
    """VersityGW over a directory: `root` holds one directory a bucket.

    `options` are further ones of versitygw and of its back end; with a certificate among the first it speaks TLS.
    """

    def __init__(
        self, scratch_dir: Path, region: str, options: Sequence[str] = (), posix_options: Sequence[str] = ()
    ) -> None:
        self.access_key = "lab-access"
        self.secret_key = "lab-secret-key"
        self.region = region
        self.root = scratch_dir / "root"
        side = scratch_dir / "side"
        self.root.mkdir()
        side.mkdir()
        port = free_port()
        self.port = port
        self.endpoint_url = f"{'https' if '--cert' in options else 'http'}://127.0.0.1:{port}"
        super().__init__(
            "VersityGW",
            # Metadata beside the data, since not every file system has extended attributes.
            [
                str(part("versitygw") / "bin" / "versitygw"),
                *("--port", f"127.0.0.1:{port}", "--region", region, "--health", "/health"),
                "--keep-alive",  # as every other S3 server does
                *options,
                *("posix", "--sidecar", str(side), *posix_options, str(self.root)),
            ],
            {**os.environ, "ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
            self.endpoint_url + "/health",
            scratch_dir / "versitygw.log",
        )

    def listen_everywhere(self) -> None:
        """Answer on all addresses of the machine, before it is started."""
        self._command = [argument.replace("127.0.0.1:", "0.0.0.0:") for argument in self._command]


class OllamaServer(Server):
    """A real Ollama, inference included unless another build is named. `models_path` is its store."""

    def __init__(
        self,
        scratch_dir: Path,
        models_path: Optional[Path],
        env: Optional[Mapping[str, str]],
        port: Optional[int],
        build: str = "ollama",
    ) -> None:
        self.models_path = models_path or scratch_dir / "models"
        self.models_path.mkdir(exist_ok=True)
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OLLAMA_")}
        settings = {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(self.models_path)}
        if not self.models_path.stat().st_mode & 0o222:
            settings["OLLAMA_NOPRUNE"] = "1"  # at its start Ollama deletes blobs that no manifest names
        super().__init__(
            "Ollama",
            [str(part(build) / "bin" / "ollama"), "serve"],
            {**inherited, "HOME": str(scratch_dir), **settings, **(env or {})},
            self.url + "/api/version",
            scratch_dir / "ollama.log",
        )


class Broker:
    """A real RabbitMQ in a container of its own: the container stays while the broker stops, dies and starts again."""

    port = 5672
    tls_port = 5671
    username = "lab"
    password = "lab-password"

    def __init__(self, series: str, logs: Path) -> None:
        self._podman = podman()
        self._logs = logs
        self._container = container("broker", f"rabbitmq{series}")
        self.name = self._container.__enter__()
        address = self._run("inspect", "-f", "{{.NetworkSettings.IPAddress}}", self.name)
        self.host = address.strip()
        self.amqp_url = f"amqp://{self.username}:{self.password}@{self.host}:{self.port}/%2F"
        settings = f"default_user = {self.username}\ndefault_pass = {self.password}\nloopback_users = none\n"
        self._write("rabbitmq.conf", settings)
        self._lister: Optional[subprocess.Popen[str]] = None

    def use_tls(self, authority: bytes, certificate: bytes, key: bytes) -> None:
        """Speak TLS at `tls_port`, to those who have a certificate of the authority; its common name can log in.

        All in PEM. Before the start, and again to change the files of a broker that runs.
        """
        for name, content in (("ca", authority), ("cert", certificate), ("key", key)):
            self._write(f"{name}.pem", content.decode())
        if self._alive():
            self.ctl("eval", "ssl:clear_pem_cache().")
            return
        settings = (
            f"listeners.ssl.1 = {self.tls_port}\n"
            "ssl_options.cacertfile = /etc/rabbitmq/ca.pem\n"
            "ssl_options.certfile = /etc/rabbitmq/cert.pem\n"
            "ssl_options.keyfile = /etc/rabbitmq/key.pem\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
            "ssl_cert_login_from = common_name\n"
            "auth_mechanisms.1 = PLAIN\n"
            "auth_mechanisms.2 = AMQPLAIN\n"
            "auth_mechanisms.3 = EXTERNAL\n"
        )
        self._write("rabbitmq.conf", self._exec("cat", "/etc/rabbitmq/rabbitmq.conf") + settings)
        self._write("enabled_plugins", "[rabbitmq_auth_mechanism_ssl].\n")

    def start(self) -> None:
        """Start the broker and wait until it greets a client."""
        # Without systemd there is no NOTIFY_SOCKET, and the host part of the node's name must resolve.
        self._exec(
            *("-d", "-u", "rabbitmq", "-e", "RABBITMQ_NODENAME=rabbit@localhost", "-e", "HOME=/var/lib/rabbitmq"),
            "--",
            *("sh", "-c", "exec rabbitmq-server > /var/log/rabbitmq/console.log 2>&1"),
        )
        started = time.monotonic()
        log = self._logs / "rabbitmq.log"

        def ended() -> bool:
            if time.monotonic() - started < 30 or self._alive():  # a busy machine takes a while to come to the latter
                return False
            self._save_log(log)
            return True

        _wait("RabbitMQ", self._greets, ended, log)

    def stop(self) -> None:
        """Shut down the broker."""
        self._end_lister()
        self.ctl("stop")
        self._wait_for_end()

    def kill(self) -> None:
        """Kill the broker (SIGKILL)."""
        self._end_lister()
        self._exec("pkill", "-9", "-x", "beam.smp", check=False)
        self._wait_for_end()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it printed."""
        rabbitmqctl = ("rabbitmqctl", "-n", "rabbit@localhost")
        return self._exec("-u", "rabbitmq", "-e", "HOME=/var/lib/rabbitmq", "--", *rabbitmqctl, *arguments)

    def queues(self) -> list[str]:
        """Return the names of all queues, without the two-second start of rabbitmqctl."""
        if self._lister is None:
            self._lister = subprocess.Popen(
                [
                    *(*self._podman, "exec", "-i", "-u", "rabbitmq", "-e", "HOME=/var/lib/rabbitmq", self.name),
                    *("erl", "-noshell", "-hidden", "-sname", "lister@localhost", "-eval", _LISTER),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        if self._lister.stdin is None or self._lister.stdout is None:
            raise RuntimeError("the lister has no pipes")
        self._lister.stdin.write("\n")
        self._lister.stdin.flush()
        names = []
        while (line := self._lister.stdout.readline()) != "\n":
            if not line:
                raise RuntimeError(f"RabbitMQ in {self.name} does not tell its queues")
            names.append(line.rstrip("\n"))
        return names

    def _end_lister(self) -> None:
        """End it before the broker, whose processes have the same name."""
        if self._lister is not None:
            self._lister.communicate()
            self._lister = None

    def remove(self) -> None:
        """Remove the container with its contents."""
        self._end_lister()
        self._save_log(self._logs / "rabbitmq.log")
        self._container.__exit__(None, None, None)

    def _write(self, name: str, content: str) -> None:
        """Write a file of the broker's configuration."""
        self._exec("sh", "-c", 'printf %s "$1" > "/etc/rabbitmq/$2"', "sh", content, name)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")  # protocol header of AMQP 0-9-1, section 4.2.2
                return sock.recv(1) == b"\x01"  # a method frame: connection.start
        except OSError:
            return False

    def _alive(self) -> bool:
        return "beam.smp" in self._exec("ps", "-eo", "comm", check=False)

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while self._alive():
            if time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ in {self.name} did not end within {READY_WITHIN:.0f} s")
            time.sleep(0.1)

    def _save_log(self, path: Path) -> None:
        path.write_text(self._exec("sh", "-c", "cat /var/log/rabbitmq/*.log", check=False))

    def _exec(self, *arguments: str, check: bool = True) -> str:
        options = arguments[: arguments.index("--")] if "--" in arguments else ()
        command = arguments[len(options) + 1 :] if options else arguments
        return self._run("exec", *options, self.name, *command, check=check)

    def _run(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self._podman, *arguments], check=False, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"podman {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def podman_environment() -> dict[str, str]:
    """The environment variables that podman needs (common.sh explains them)."""
    settings = subprocess.run(
        ["bash", "-c", '. "$0"; podman_settings; printf %s "$CONTAINERS_CONF"', str(LAB / "common.sh")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return {"CONTAINERS_CONF": settings}


def podman() -> list[str]:
    """The podman command with the lab's settings."""
    command = ["env", *(f"{name}={value}" for name, value in podman_environment().items()), "podman"]
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def image(name: str) -> str:
    """An image of the lab, built if it is missing."""
    printed = subprocess.run([str(LAB / "images.sh"), name], check=True, stdout=subprocess.PIPE, text=True)
    return printed.stdout.strip()


@contextlib.contextmanager
def container(purpose: str, image_name: str, *options: str) -> Iterator[str]:
    """An idle container inside the context. Yields its name.

    `options` are those of `podman run`.
    """
    name = f"legionio-{purpose}-{os.getpid()}-{time.monotonic_ns() % 10**9}"
    labels = (f"--label=legionio-lab={purpose}", f"--label={abandoned.LABEL}={abandoned.owner()}")
    remove = [*podman(), "rm", "-f", "-i", "-t", "0", name]
    entry = _undo.add(*remove)
    try:
        start = [*podman(), "run", "-d", "--name", name, *labels, *options]
        subprocess.run([*start, image(image_name), "sleep", "infinity"], check=True, stdout=subprocess.DEVNULL)
        yield name
    finally:
        subprocess.run(remove, check=True, stdout=subprocess.DEVNULL)
        _undo.drop(entry)


@contextlib.contextmanager
def s3_server(
    region: str = "us-east-1", options: Sequence[str] = (), posix_options: Sequence[str] = ()
) -> Iterator[S3Server]:
    """An empty S3 server on a free loopback port."""
    with scratch("s3") as directory:
        server = S3Server(directory, region, options, posix_options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def ollama_server(
    models_path: Union[Path, str, None] = None,
    env: Optional[Mapping[str, str]] = None,
    port: Optional[int] = None,
    build: str = "ollama",
) -> Iterator[OllamaServer]:
    """An Ollama on a free loopback port; over an empty store of its own unless `models_path` says otherwise.

    `build` names the part that has the binary: "ollama-newest" and "ollama-oldest" serve the API without inference.
    """
    with scratch("ollama") as directory:
        server = OllamaServer(directory, Path(models_path) if models_path else None, env, port, build)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def rabbitmq(series: str = "4", prepare: Callable[[Broker], None] = lambda _broker: None) -> Iterator[Broker]:
    """A fresh broker: series "4" is Debian 13's RabbitMQ 4.0, "3" is Debian 12's 3.10.

    `prepare` is called before it starts, when its address is known.
    """
    with scratch("rabbitmq") as directory:
        broker = Broker(series, directory)
        try:
            prepare(broker)
            broker.start()
            yield broker
        finally:
            broker.remove()
