# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS to a real broker with client certificates and test authorities: a connection, or an error with the cause."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import services
import trustme
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, asking, channel_to, set_up_broker
from fleet_worker._fleet.broker import Address, BrokerSettings, BrokerTlsSettings
from fleet_worker._fleet.broker_connection import BrokerConnection
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.errors import BrokerLoginRefusedError, BrokerTlsError, BrokerUnreachableError
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Question

Start = Callable[..., WorkerProcess]
CHAT = lane("chat", CHAT_MODEL).queue
PAST = datetime.now(timezone.utc) - timedelta(days=1)


class Party:
    """An authority, the certificate of a broker, and those of two clients, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca_path = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_path)

    def server(self, host: str, not_after: Optional[datetime] = None) -> tuple[bytes, bytes, bytes]:
        made = self.authority.issue_cert(host, "hub.example.com", not_after=not_after)
        chain = b"".join(part.bytes() for part in made.cert_chain_pems)
        return self.authority.cert_pem.bytes(), chain, made.private_key_pem.bytes()

    def client(self, name: str, not_after: Optional[datetime] = None) -> dict[str, str]:
        made = self.authority.issue_cert(f"{name}.example.com", common_name=name, not_after=not_after)
        paths = {"client_cert": str(self.directory / f"{name}.pem"), "client_key": str(self.directory / f"{name}.key")}
        made.cert_chain_pems[0].write_to_path(paths["client_cert"])
        made.private_key_pem.write_to_path(paths["client_key"])
        return paths


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module", params=["4", "3"], ids=["rabbitmq4", "rabbitmq3"])
def tls_broker(request: pytest.FixtureRequest, party: Party) -> Iterator[Any]:
    with services.rabbitmq(request.param, lambda broker: broker.use_tls(*party.server(broker.host))) as broker:
        set_up_broker(broker)
        broker.ctl("add_user", "worker-by-certificate", "a password that nobody uses")
        broker.ctl("set_permissions", "worker-by-certificate", ".*", ".*", ".*")
        yield broker


@pytest.fixture
def settings(tls_broker: Any, party: Party) -> BrokerSettings:
    return BrokerSettings(
        (Address(tls_broker.host, tls_broker.tls_port),),
        username=tls_broker.username,
        password=tls_broker.password,
        tls=BrokerTlsSettings(ca_path=party.ca_path, **party.client("requester")),
    )


def with_tls(settings: BrokerSettings, **changes: Any) -> BrokerSettings:
    assert settings.tls is not None
    return dataclasses.replace(settings, tls=dataclasses.replace(settings.tls, **changes))


@pytest.fixture
def forwarder(tls_broker: Any) -> Iterator[int]:
    """A loopback port that leads to the broker under an address that is not in its certificate."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                target.sendall(content)
        except OSError:
            pass
        target.close()

    def serve() -> None:
        while True:
            try:
                near, _address = listener.accept()
            except OSError:
                return
            far = socket.create_connection((tls_broker.host, tls_broker.tls_port))
            sockets.extend((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    for one in sockets:
        one.close()


def ask(settings: BrokerSettings) -> str:
    with asking(settings) as requester:
        question = Question("chat", CHAT_MODEL, {"messages": [{"role": "user", "content": "Hello"}]}, 30)
        answered = requester.ask(question, dialect_named("typed"), exchange="llm.request", routing_key=CHAT, seconds=30)
        return str(answered.answer.text)


def tls_section(party: Party, **changes: Any) -> dict[str, Any]:
    """The worker's section; its key is a credential."""
    found = party.client("worker-by-certificate")
    return {
        "ca_path": party.ca_path,
        "client_cert": found["client_cert"],
        "client_key_credential": "broker-client-key",
        **changes,
    }


@pytest.fixture
def start_tls(tls_broker: Any, scripted: ScriptedOllama, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker that speaks TLS; ``key`` becomes its credential."""
    started: list[WorkerProcess] = []

    def starting(key: Optional[str], *, addresses: Any = None, **broker: Any) -> WorkerProcess:
        directory = tmp_path / f"tls-worker-{len(started)}"
        directory.mkdir()
        if key is not None:
            shutil.copy(key, directory / "broker-client-key")
        section = {"addresses": [f"{tls_broker.host}:{tls_broker.tls_port}"], "username": tls_broker.username, **broker}
        if addresses:
            section["addresses"] = addresses
        configuration = {
            "node": "gpu-01",
            "broker": section,
            "ollama": {"host": scripted.url},
            "lanes": [{"type": "chat", "model": CHAT_MODEL}],
            "metrics": {"listen": None},
        }
        worker = WorkerProcess(directory, configuration, password=tls_broker.password)
        started.append(worker)
        return worker

    yield starting
    for worker in started:
        worker.close()
    with channel_to(tls_broker) as channel:
        channel.queue_delete(CHAT)


def test_request_and_answer_use_tls(tls_broker: Any, party: Party, settings: BrokerSettings, start_tls: Any) -> None:
    own = party.client("worker-by-certificate")
    start_tls(own["client_key"], tls=tls_section(party)).wait_ready()
    assert ask(settings) == "Good morning."
    listed = tls_broker.ctl("-q", "list_connections", "ssl", "user", "auth_mechanism")
    assert f"true\t{tls_broker.username}\tPLAIN" in listed


def test_login_with_the_certificate_needs_no_password(
    tls_broker: Any, party: Party, settings: BrokerSettings, start_tls: Any
) -> None:
    own = party.client("worker-by-certificate")
    start_tls(own["client_key"], username=None, tls=tls_section(party)).wait_ready()
    listed = tls_broker.ctl("-q", "list_connections", "ssl", "user", "auth_mechanism")
    assert "true\tworker-by-certificate\tEXTERNAL" in listed
    tls_broker.ctl("add_user", "requester", "a password that nobody uses")
    try:
        tls_broker.ctl("set_permissions", "requester", ".*", ".*", ".*")
        assert ask(dataclasses.replace(settings, username=None)) == "Good morning."
    finally:
        tls_broker.ctl("delete_user", "requester")


def test_login_with_a_certificate_of_no_user_is_refused(settings: BrokerSettings) -> None:
    with pytest.raises(BrokerLoginRefusedError) as caught, asking(dataclasses.replace(settings, username=None)):
        pass
    assert "refuses the login of the client certificate" in caught.value.message
    assert "rabbitmq_auth_mechanism_ssl" in caught.value.remedy


def test_worker_with_an_untrusted_first_address_uses_the_next(
    tls_broker: Any, party: Party, settings: BrokerSettings, forwarder: int, start_tls: Any
) -> None:
    addresses = (Address("127.0.0.1", forwarder), *settings.addresses)
    with BrokerConnection(dataclasses.replace(settings, addresses=addresses)) as connection:
        assert connection.queue_state("llm.unseen") is None
    own = party.client("worker-by-certificate")
    start_tls(own["client_key"], addresses=[str(one) for one in addresses], tls=tls_section(party)).wait_ready()


def test_module_uses_the_first_trusted_broker(
    tls_broker: Any, party: Party, scripted: ScriptedOllama, forwarder: int, start_tls: Any
) -> None:
    own = party.client("worker-by-certificate")
    start_tls(own["client_key"], tls=tls_section(party)).wait_ready()
    arguments = {
        "broker_host": [f"127.0.0.1:{forwarder}", f"{tls_broker.host}:{tls_broker.tls_port}"],
        "broker_ca_path": party.ca_path,
        "broker_client_cert": own["client_cert"],
        "broker_client_key": own["client_key"],
        "type": "chat",
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "timeout": 60,
    }
    command = ["ansible", "localhost", "-m", "legionio.ollama.fleet_request", "-a", json.dumps(arguments)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert '"content": "Good morning."' in done.stdout, done.stdout + done.stderr


# What can be wrong. Each is tried as a requester and as a worker, and told by both with the same words.


def wrong_authority(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return with_tls(settings, ca_path=stranger.ca_path)


def no_authority(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return with_tls(settings, ca_path=None)


def wrong_host(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return dataclasses.replace(settings, addresses=(Address("127.0.0.1", forwarder),))


def no_certificate(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return with_tls(settings, client_cert=None, client_key=None)


def strange_certificate(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return with_tls(settings, **stranger.client("requester"))


def old_certificate(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return with_tls(settings, **party.client("old", PAST))


def plain_port(settings: BrokerSettings, party: Party, stranger: Party, forwarder: int) -> BrokerSettings:
    return dataclasses.replace(settings, addresses=(Address(settings.addresses[0].host, 5672),))


def refusal_of(settings: BrokerSettings) -> BrokerTlsError:
    """Return why a broker ends the handshake.

    The broker says why, and closes the connection. What this side sends at the same moment meets a closed connection,
    and then the reason is lost: that is the network's order of events, so the connection is tried again.
    """
    for _try in range(20):
        with pytest.raises((BrokerTlsError, BrokerUnreachableError)) as caught, asking(settings):
            pass
        if isinstance(caught.value, BrokerTlsError):
            return caught.value
    raise AssertionError(f"no reason was given in 20 tries: {caught.value}")


@pytest.mark.parametrize(
    "change, message, remedy",
    [
        (wrong_authority, "is not signed by an authority in {ca_path}", "Set ca_path"),
        (no_authority, "is not signed by an authority in the certificates of the system", "Set ca_path"),
        (wrong_host, "is not for 127.0.0.1", "in the certificate"),
        (no_certificate, "requires a client certificate, and none was sent", "Set client_cert and client_key"),
        (strange_certificate, "refuses the client certificate {client_cert}", "signed by an authority that the broker"),
        (old_certificate, "says that the client certificate {client_cert} has expired", "Renew it"),
        (plain_port, "The encryption of the connection to the broker", "Check that the port speaks TLS"),
    ],
)
def test_tls_error_names_the_reason_and_the_remedy(
    change: Callable[..., BrokerSettings],
    message: str,
    remedy: str,
    settings: BrokerSettings,
    party: Party,
    stranger: Party,
    forwarder: int,
    start_tls: Any,
) -> None:
    changed = change(settings, party, stranger, forwarder)
    assert changed.tls is not None
    wanted = message.format(**dataclasses.asdict(changed.tls))
    error = refusal_of(changed)
    assert wanted in error.message
    assert str(changed.addresses[0]) in error.message
    assert remedy in error.remedy
    tls = changed.tls
    section = {"ca_path": tls.ca_path, "client_cert": tls.client_cert}
    if tls.client_key:
        section["client_key_credential"] = "broker-client-key"
    worker = start_tls(tls.client_key, addresses=[str(changed.addresses[0])], tls=section)
    assert worker.wait_end() == 78, "no retry mends it"
    last = worker.log.splitlines()[-1]
    assert wanted in last
    assert remedy in last
    assert "Traceback" not in worker.log


def test_connection_without_tls_to_a_tls_port_names_the_port(settings: BrokerSettings) -> None:
    with pytest.raises(BrokerUnreachableError) as caught, asking(dataclasses.replace(settings, tls=None)):
        pass
    assert "before it answers" in caught.value.message
    assert "AMQP over TLS at 5671" in caught.value.remedy


def test_broker_with_an_expired_certificate_is_refused_with_the_remedy(
    tls_broker: Any, party: Party, settings: BrokerSettings, start_tls: Any
) -> None:
    tls_broker.use_tls(*party.server(tls_broker.host, PAST))
    try:
        with pytest.raises(BrokerTlsError) as caught, asking(settings):
            pass
        assert f"The certificate of the broker {settings.addresses[0]} has expired" in caught.value.message
        assert "Renew it at the broker" in caught.value.remedy
        worker = start_tls(party.client("worker-by-certificate")["client_key"], tls=tls_section(party))
        assert worker.wait_end() == 78
        assert "has expired. Renew it at the broker" in worker.log.splitlines()[-1]
    finally:
        tls_broker.use_tls(*party.server(tls_broker.host))


def test_worker_logs_an_expired_certificate_and_uses_its_successor(
    tls_broker: Any, party: Party, settings: BrokerSettings, start_tls: Any
) -> None:
    """The files are read again at each attempt; the process stays."""
    own = party.client("worker-by-certificate")
    worker = start_tls(own["client_key"], username=None, tls=tls_section(party)).wait_ready()
    tls_broker.use_tls(*party.server(tls_broker.host, PAST))
    tls_broker.ctl("close_all_connections", "the test")
    worker.wait_log("event=cannot_connect")
    assert worker.process.poll() is None
    tls_broker.use_tls(*party.server(tls_broker.host))
    assert ask(settings) == "Good morning."


def test_connection_without_validation_accepts_any_certificate(
    settings: BrokerSettings, stranger: Party, forwarder: int
) -> None:
    changed = dataclasses.replace(settings, addresses=(Address("127.0.0.1", forwarder),))
    with BrokerConnection(with_tls(changed, validate=False, ca_path=stranger.ca_path)) as connection:
        assert connection.queue_state("llm.unseen") is None


def test_unreadable_key_is_an_error_of_the_settings(
    tls_broker: Any, party: Party, stranger: Party, start_tls: Any
) -> None:
    other = stranger.client("worker-by-certificate")["client_key"]
    worker = start_tls(other, tls=tls_section(party))
    assert worker.wait_end() == 78
    last = worker.log.splitlines()[-1]
    assert "The TLS files for the broker cannot be used" in last
    assert "that certificate and key belong together" in last
    assert os.path.basename(other) not in last or "PRIVATE" not in last
