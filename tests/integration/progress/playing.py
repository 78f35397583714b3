# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of real playbooks, with each line of their output and its time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urlsplit

ROOT = Path(__file__).resolve().parents[3]

#: A line with bytes, as the documentation has it.
LINE = re.compile(
    r"progress: \[(?P<host>[^]]+)\] (?P<what>[^ ].*): (?P<done>[0-9.]+ k?M?G?B) of (?P<total>[0-9.]+ k?M?G?B) "
    r"\((?P<percent>[0-9]+) %\)(, (nothing moves|[0-9.]+ k?M?G?B/s(, ([0-9]+ (h|min) )?[0-9]+ (s|min) left)?))?"
)


@dataclass
class Play:
    """A run of ansible-playbook."""

    process: subprocess.Popen[str]
    stdout: list[tuple[float, str]] = field(default_factory=list)
    stderr: list[tuple[float, str]] = field(default_factory=list)
    ended: float = 0.0

    def __post_init__(self) -> None:
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], lines: list[tuple[float, str]]) -> None:
        lines.extend((time.monotonic(), text.rstrip("\n")) for text in stream)

    def wait(self, timeout: float = 300) -> Play:
        self.process.wait(timeout)
        self.ended = time.monotonic()
        for reader in self._readers:
            reader.join()
        return self

    @property
    def output(self) -> str:
        return "\n".join(text for _time, text in [*self.stdout, *self.stderr])

    @property
    def shown(self) -> list[tuple[float, str]]:
        """The output that looks like progress lines, or parts of them."""
        return [entry for entry in [*self.stdout, *self.stderr] if "progress: [" in entry[1] or " left" in entry[1]]

    def result(self, host: str = "node") -> dict[str, Any]:
        """The result of the last task on a host, from what `-v` prints."""
        marks = [
            found
            for found in re.finditer(r"(?:changed|ok|fatal): \[([^]]+)\](?:: \w+!)? => (?=\{)", self.output)
            if found.group(1).split(" ")[0] == host
        ]
        found, _end = json.JSONDecoder().raw_decode(self.output[marks[-1].end() :])
        return dict(found)

    def wait_for_line(self, timeout: float = 60) -> None:
        """Wait until some bytes have arrived."""
        deadline = time.monotonic() + timeout
        while not any(text.startswith("progress: ") and "(0 %)" not in text for _when, text in self.shown):
            assert time.monotonic() < deadline and self.process.poll() is None, self.output
            time.sleep(0.05)


def start(
    folder: Path,
    tasks: list[dict[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    *flags: str,
    core: Path,
    env: Mapping[str, str],
    keywords: Mapping[str, Any],
) -> Play:
    """Start ansible-playbook on some hosts, each with its variables.

    :param core: the environment whose Ansible is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (folder / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, **keywords, "tasks": tasks}]))
    process = subprocess.Popen(
        [str(core / "bin/ansible-playbook"), "-v", "-i", str(folder / "hosts.json"), str(folder / "play.json"), *flags],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PATH": f"{core / 'bin'}:{os.environ['PATH']}", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    return Play(process)


def newest_python() -> str:
    """A Python that the newest Ansible can run on; empty on a machine without one."""
    return _line([str(ROOT / "tests/tools/find-python.sh"), "3.12", "3.13", "--optional"])


def newest_core() -> Path:
    """The environment of the newest Ansible, built if need be."""
    requirements = ROOT / "tests/requirements-core-next.txt"
    return Path(_line([str(ROOT / "tests/tools/venv.sh"), str(requirements), newest_python()]))


def _line(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextlib.contextmanager
def slow_line(url: str, rate: float) -> Iterator[str]:
    """A way to a server on which what is sent there takes its time, in bytes a second. Yields its URL."""
    upstream = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, upstream, rate), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, upstream: SplitResult, rate: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _address = listener.accept()
            far = socket.create_connection((upstream.hostname or "", upstream.port or 80))
            for pair in ((near, far, rate), (far, near, 0.0)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, rate: float) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
            if rate:
                time.sleep(len(piece) / rate)
        target.shutdown(socket.SHUT_WR)
