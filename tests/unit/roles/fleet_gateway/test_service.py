# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the gateway: what it listens to, how it ends, and who is let go before its request has come."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml
from fleet_gateway import __version__
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.registry import AVAILABLE, Offering
from fleet_gateway.cli import main
from fleet_gateway.exit_codes import EXIT_BROKEN, EXIT_CONFIG
from fleet_gateway.observe.usage_store import FILE, UsageStore
from fleet_gateway.process import service
from fleet_gateway.settings.config import Config
from fleet_gateway.settings.keys import new_key

from .memory_front import CHAT, MemorySession

_KEY, HASH = new_key()


class ServedSession(MemorySession):
    """A session with a fleet of one node that is up from the beginning."""

    def __init__(
        self, _settings: Any, _exchange: str, *, on_reply: Any, on_registry_event: Any, changed: Callable[[], None]
    ) -> None:
        super().__init__()
        self._on_registry_event = on_registry_event
        self._changed = changed
        self._over = asyncio.Event()

    async def run(self) -> None:
        self._on_registry_event(Offering(lane("chat", "m:1"), "gpu-01", 2).event(AVAILABLE).message)
        self._changed()
        await self._over.wait()

    async def close(self) -> None:
        self._over.set()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "broker-password").write_text("secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(service, "BrokerSession", ServedSession)
    monkeypatch.setattr(service, "LOOK", 0.02)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "broker": {"addresses": ["hub:5672"]},
        "listen": f"127.0.0.1:{port}",
        "state_directory": str(tmp_path / "state"),
        "drain_timeout": 5,
    }


def serve(settings: dict[str, Any], test: Any) -> int:
    """Run a service, and a test beside it; return its exit status."""
    config = Config.model_validate(settings)
    Path(config.state_directory).mkdir(exist_ok=True)

    async def both() -> int:
        made = service.Service(config)
        running = asyncio.ensure_future(made.run())
        for _turn in range(500):
            if running.done():
                break
            try:
                _reader, writer = await asyncio.open_connection(*config.address)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.01)
        await test(made, config)
        return await asyncio.wait_for(running, 20)

    return asyncio.run(both())


async def exchanged(config: Config, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*config.address)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_service_serves_until_sigterm_and_tells_how_it_is(settings: dict[str, Any], caplog: Any) -> None:
    caplog.set_level("INFO")

    async def test(made: service.Service, config: Config) -> None:
        assert b'"ready":true' in await exchanged(config, GET % b"readyz")
        assert b'"own":[]' in await exchanged(config, GET % b"status")
        metrics = await exchanged(config, GET % b"metrics")
        assert b"fleet_gateway_lanes 1.0" in metrics
        assert b"fleet_gateway_ready 1.0" in metrics and b"fleet_gateway_draining 0.0" in metrics
        assert f'fleet_gateway_info{{node="{config.node}",version="{__version__}"}} 1.0'.encode() in metrics
        assert b"fleet_gateway_start_time_seconds" in metrics
        made._session.is_up = False  # type: ignore[misc]
        made._connection_changed()
        assert b"no broker: gone" in await exchanged(config, GET % b"readyz")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert made.snapshot()["reason"] == "it ends"

    assert serve(settings, test) == 0
    assert "draining" in caplog.text and "ended" in caplog.text


def test_service_drains_what_runs_and_a_second_signal_ends_it(settings: dict[str, Any]) -> None:
    async def test(_made: service.Service, config: Config) -> None:
        reader, writer = await asyncio.open_connection(*config.address)
        body = json.dumps(CHAT).encode()
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert not reader.at_eof()
        os.kill(os.getpid(), signal.SIGTERM)
        writer.close()

    assert serve(settings, test) == 0


def test_service_reads_its_keys_again_and_keeps_them_when_the_file_is_wrong(
    settings: dict[str, Any], tmp_path: Path, caplog: Any
) -> None:
    keys = tmp_path / "keys.yml"
    keys.write_text("keys: []\n")

    async def test(made: service.Service, _config: Config) -> None:
        keys.write_text(yaml.safe_dump({"keys": [{"name": "alice", "hash": HASH}]}))
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.1)
        assert made.snapshot()["keys"] == 1
        keys.write_text("keys: [{name: broken}]\n")
        await asyncio.sleep(0.1)
        assert made.snapshot()["keys"] == 1
        os.kill(os.getpid(), signal.SIGTERM)

    assert serve({**settings, "keys_file": str(keys)}, test) == 0
    assert "keys_refused" in caplog.text


def test_run_whose_address_is_taken_gives_up_and_names_it(settings: dict[str, Any], capfd: Any) -> None:
    host, _colon, port = settings["listen"].rpartition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        assert service.run(Config.model_validate(settings)) == EXIT_BROKEN
    assert f"listen at {settings['listen']}" in capfd.readouterr().out


def test_service_whose_link_ends_is_broken(settings: dict[str, Any]) -> None:
    async def test(made: service.Service, _config: Config) -> None:
        await made._session.close()

    assert serve(settings, test) == EXIT_BROKEN


def test_run_without_a_state_directory_or_a_password_gives_up(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = Config.model_validate({**settings, "state_directory": str(tmp_path / "file" / "state")})
    assert service.run(config) == EXIT_CONFIG
    (tmp_path / "broker-password").unlink()
    assert service.run(Config.model_validate(settings)) == EXIT_CONFIG


@pytest.mark.parametrize(
    "error, status",
    [
        (sqlite3.OperationalError("database or disk is full"), EXIT_BROKEN),
        (sqlite3.OperationalError("database is locked"), EXIT_BROKEN),
        (sqlite3.OperationalError("disk I/O error"), EXIT_BROKEN),
        (OSError(errno.ENOSPC, "No space left on device"), EXIT_BROKEN),
        (sqlite3.OperationalError("attempt to write a readonly database"), EXIT_CONFIG),
        (PermissionError(errno.EACCES, "Permission denied"), EXIT_CONFIG),
    ],
)
def test_run_tries_again_what_passes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(_directory: str) -> None:
        raise error

    monkeypatch.setattr(service, "UsageStore", fail)
    assert service.run(Config.model_validate(settings)) == status


def test_run_with_a_file_that_is_no_database_gives_up(settings: dict[str, Any]) -> None:
    Path(settings["state_directory"]).mkdir()
    (Path(settings["state_directory"]) / FILE).write_text("x" * 5000)
    assert service.run(Config.model_validate(settings)) == EXIT_CONFIG


def test_run_that_meets_a_defect_is_broken(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Service", lambda _config: 1 / 0)
    assert service.run(Config.model_validate(settings)) == EXIT_BROKEN


def test_run_builds_the_service_in_its_loop(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Python 3.10, a service that was built earlier could not wait for the first node."""
    loops: list[asyncio.AbstractEventLoop] = []

    class Built:
        def __init__(self, _config: Config) -> None:
            loops.append(asyncio.get_running_loop())

        async def run(self) -> int:
            loops.append(asyncio.get_running_loop())
            return 0

    monkeypatch.setattr(service, "Service", Built)
    assert service.run(Config.model_validate(settings)) == 0
    assert loops[0] is loops[1]


def test_head_that_comes_slowly_ends_the_connection(settings: dict[str, Any]) -> None:
    async def test(_made: service.Service, config: Config) -> None:
        assert await exchanged(config, b"") == b""
        assert await exchanged(config, b"GET /healthz HTTP/1.1\r\n") == b""
        os.kill(os.getpid(), signal.SIGTERM)

    assert serve({**settings, "limits": {"head_seconds": 0.1}}, test) == 0


@pytest.mark.parametrize("path", [b"/api/chat", b"/api/pull", b"/v1/nowhere"])
def test_request_with_two_lengths_is_refused_and_ends_the_connection(settings: dict[str, Any], path: bytes) -> None:
    async def test(_made: service.Service, config: Config) -> None:
        lengths = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % path
        said = await asyncio.wait_for(exchanged(config, head + lengths), 5)
        assert said.startswith(b"HTTP/1.1 400 ") and b"Content-Length or Transfer-Encoding" in said
        os.kill(os.getpid(), signal.SIGTERM)

    assert serve(settings, test) == 0


def test_listens_at_names_an_address_that_this_machine_reaches() -> None:
    def at(listen: str, **more: Any) -> Any:
        broker = {"addresses": ["hub"]}
        return service.listens_at(
            Config.model_validate({"broker": broker, "listen": listen, "keys_file": "/k", **more})
        )

    assert at("0.0.0.0:80") == "http://127.0.0.1:80/status"
    assert at("[::1]:81") == "http://[::1]:81/status"
    assert at("host:82", tls={"cert": "/c"}) == "https://host:82/status"


# The commands that ask a gateway.


def test_status_and_usage_print_tables_and_json(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = tmp_path / "gateway.yml"
    path.write_text(yaml.safe_dump(settings))

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def test(_made: service.Service, _config: Config) -> None:
        for words, found in ((["status"], "1 nodes, 2 slots"), (["status", "--json"], '"ready": true')):
            capsys.readouterr()
            assert await asyncio.to_thread(main, [*words, "--config", str(path)]) == 0
            assert found in capsys.readouterr().out
        os.kill(os.getpid(), signal.SIGTERM)

    assert serve(settings, test) == 0
    store = UsageStore(settings["state_directory"])
    store.add("alice", "m:1", 3, 2, estimated=False)
    store.close()
    assert main(["usage", "--config", str(path)]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["usage", "--json", "--config", str(path)]) == 0
    assert '"input_tokens": 3' in capsys.readouterr().out
    for day in ("2026-9-1", "last week"):
        with pytest.raises(SystemExit):
            main(["usage", "--since", day, "--config", str(path)])
        assert "2026-11-30" in capsys.readouterr().err
    path.write_text(yaml.safe_dump({**settings, "state_directory": str(tmp_path / "nowhere")}))
    assert main(["usage", "--config", str(path)]) == 1


def test_run_of_the_command_line_serves_with_its_configuration(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = tmp_path / "gateway.yml"
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(service, "run", lambda config: 0 if config.listen == settings["listen"] else 9)
    assert main(["run", "--config", str(path)]) == 0
    path.write_text("broker: 7\n")
    assert main(["run", "--config", str(path)]) == EXIT_CONFIG
    assert main(["version"]) == 0
