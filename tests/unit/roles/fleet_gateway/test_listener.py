# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listening socket passes from one gateway to the next, through a stand-in for systemd's store."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_gateway.http.listener import CannotListenError, end_handover, open_listener
from fleet_gateway.runtime import descriptor_store
from fleet_gateway.settings.config import Config

#: The first descriptor of the stand-in: 3 is taken in the process of the tests.
FIRST = 900


class Systemd:
    """Keeps the descriptors that a service stores, and passes them to the next one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(directory / "notify"))
        self._channel.setblocking(False)
        self.kept: dict[str, list[int]] = {}
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        monkeypatch.setattr(descriptor_store, "FIRST", FIRST)

    def read(self) -> None:
        """Do what the service has asked for."""
        while True:
            try:
                content, descriptors, _flags, _address = socket.recv_fds(self._channel, 4096, 4)
            except BlockingIOError:
                return
            fields = dict(line.split("=") for line in content.decode().splitlines())
            if "FDSTORE" in fields:
                self.kept.setdefault(fields["FDNAME"], []).extend(descriptors)
            else:
                self.forget(fields["FDNAME"])

    def forget(self, name: str) -> None:
        for descriptor in self.kept.pop(name, []):
            os.close(descriptor)

    def start_next(self, **environment: str) -> None:
        """Pass everything to the next process, which is this one."""
        self.read()
        named = [(name, descriptor) for name, descriptors in self.kept.items() for descriptor in descriptors]
        for number, (_name, descriptor) in enumerate(named):
            os.dup2(descriptor, FIRST + number)
        passed = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(named)),
            "LISTEN_FDNAMES": ":".join(name for name, _descriptor in named),
            **environment,
        }
        for name, value in passed.items():
            self._monkeypatch.setenv(name, value)

    def close(self) -> None:
        for name in list(self.kept):
            self.forget(name)
        self._channel.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    made = Systemd(tmp_path, monkeypatch)
    yield made
    made.close()


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def config() -> Config:
    return Config.model_validate({"broker": {"addresses": ["hub:5672"]}, "listen": free_address()})


def test_open_listener_has_its_connections_send_at_once(config: Config) -> None:
    with open_listener(config) as listening, socket.create_connection(config.address):
        accepted, _address = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_open_listener_after_a_restart_answers_the_connections_of_the_pause(systemd: Systemd, config: Config) -> None:
    open_listener(config).close()  # the gateway has drained
    systemd.read()
    with socket.create_connection(config.address, 5) as client:
        systemd.start_next()
        with open_listener(config) as listening:
            assert not listening.get_inheritable()
            accepted, address = listening.accept()
            accepted.close()
            assert address == client.getsockname()
    assert not any(name.startswith("LISTEN_") for name in os.environ)


def test_open_listener_at_another_address_gives_the_old_one_up(systemd: Systemd, config: Config) -> None:
    open_listener(config).close()
    systemd.start_next()
    other = config.model_copy(update={"listen": free_address()})
    with open_listener(other) as listening:
        systemd.read()
        assert listening.getsockname() == other.address
        assert len(systemd.kept) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(config.address, 5)


def test_open_listener_at_an_address_that_overlaps_waits_until_systemd_lets_it_go(
    systemd: Systemd, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_listener(config).close()
    systemd.start_next()
    wide = config.model_copy(update={"listen": f"0.0.0.0:{config.address[1]}"})
    monkeypatch.setattr("fleet_gateway.http.listener.time.sleep", lambda _seconds: systemd.read())
    with open_listener(wide) as listening:
        assert listening.getsockname() == wide.address


def test_end_handover_has_connections_refused(systemd: Systemd, config: Config) -> None:
    open_listener(config).close()
    systemd.read()
    assert systemd.kept
    end_handover(config)
    systemd.read()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(config.address, 5)


@pytest.mark.parametrize("environment", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "0"}])
def test_passed_listeners_for_another_process_are_none(systemd: Systemd, environment: dict[str, str]) -> None:
    systemd.start_next(**environment)
    assert descriptor_store.passed_listeners() == {}


def test_passed_listeners_leave_out_what_does_not_listen(systemd: Systemd, tmp_path: Path) -> None:
    with socket.socket() as idle, (tmp_path / "file").open("w") as file:
        descriptor_store.keep("idle", idle)
        systemd.start_next()
        os.dup2(file.fileno(), FIRST + 1)
        os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES="idle:file")
        assert descriptor_store.passed_listeners() == {}
        os.close(FIRST + 1)


def test_open_listener_without_systemd_names_an_address_that_is_taken(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with open_listener(config), pytest.raises(CannotListenError, match="Nothing can listen at"):
        open_listener(config)
