# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listening socket passes from one gateway to the next, through a stand-in for systemd's store."""

from __future__ import annotations

import os
import socket

import pytest
from fleet_gateway.http.listener import CannotListenError, end_handover, open_listener
from fleet_gateway.settings.config import Config

from .memory_systemd import Systemd


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


def test_open_listener_without_systemd_names_an_address_that_is_taken(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with open_listener(config), pytest.raises(CannotListenError, match="Nothing can listen at"):
        open_listener(config)
