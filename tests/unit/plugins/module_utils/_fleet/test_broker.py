# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, URLs and what the failures of a connection mean."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Optional

import pika.exceptions
import pytest
import trustme
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker import (
    Address,
    BrokerSettings,
    BrokerTlsSettings,
    channel_error,
    connection_error,
    parameters,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    BrokerError,
    BrokerForbiddenError,
    BrokerLoginRefusedError,
    BrokerTlsError,
    BrokerUnreachableError,
    BrokerVhostError,
    ExchangeMissingError,
    InvalidBrokerError,
)
from cryptography.hazmat.primitives import serialization

HUB = Address("hub", 5672)
SETTINGS = BrokerSettings((HUB,), username="worker", password="s3cret")


@pytest.mark.parametrize(
    "text, tls, host, port",
    [
        ("hub", False, "hub", 5672),
        ("hub", True, "hub", 5671),
        ("hub.example.com:1234", True, "hub.example.com", 1234),
        ("10.0.0.1:5672", False, "10.0.0.1", 5672),
        ("[fd00::1]:5672", False, "fd00::1", 5672),
        ("[::1]", False, "::1", 5672),
    ],
)
def test_addresses(text: str, tls: bool, host: str, port: int) -> None:
    address = Address.parse(text, tls=tls)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address), tls=not tls) == address


@pytest.mark.parametrize("text", ["", ":5672", "hub:", "hub:0", "hub:65536", "hub:x", "a b", "fd00::1", "amqp://hub"])
def test_parse_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidBrokerError, match="is not the address of a broker"):
        Address.parse(text, tls=False)


def test_a_url_in_full() -> None:
    settings = BrokerSettings.from_url("amqps://us%40er:p%2Fw%3A@hub:1234/my%2Fvhost")
    assert settings.addresses == (Address("hub", 1234),)
    assert (settings.vhost, settings.username, settings.password) == ("my/vhost", "us@er", "p/w:")
    assert settings.tls == BrokerTlsSettings()


@pytest.mark.parametrize("url", ["amqp://hub", "amqp://hub/", "amqp://hub/%2F"])
def test_a_url_in_short(url: str) -> None:
    settings = BrokerSettings.from_url(url)
    assert settings == BrokerSettings((HUB,))


@pytest.mark.parametrize(
    "url",
    ["http://u:hush@hub", "amqp://", "hub:5672", "amqp://u:hush@hub:99999", "amqp://u:hush@[x"]
    + [f"amqp://u:{start}{mark}hush@hub" for start in ("", "x", "12") for mark in "/?#"],
)
def test_from_url_invalid_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidBrokerError) as caught:
        BrokerSettings.from_url(url)
    assert "hush" not in str(caught.value) and "percent-encode" in str(caught.value)


def test_a_url_beside_a_client_certificate_logs_in_by_it() -> None:
    tls = BrokerTlsSettings(client_cert="c.pem", client_key="c.key")
    assert BrokerSettings.from_url("amqps://hub", tls).username is None
    assert BrokerSettings.from_url("amqps://u:p@hub", tls).username == "u"


@pytest.mark.parametrize("tls", [BrokerTlsSettings(ca_path="ca.pem"), BrokerTlsSettings(client_cert="c.pem")])
def test_a_url_without_tls_beside_tls_files_is_refused(tls: BrokerTlsSettings) -> None:
    """The password would go over the network in clear text, although the user wanted TLS."""
    with pytest.raises(InvalidBrokerError, match="amqps"):
        BrokerSettings.from_url("amqp://u:p@hub", tls)


def test_no_representation_has_the_password() -> None:
    assert "s3cret" not in repr(SETTINGS)


def test_parameters_say_who_we_are() -> None:
    made = parameters(SETTINGS, HUB)
    assert (made.host, made.port, made.virtual_host, made.heartbeat) == ("hub", 5672, "/", 30)
    assert made.credentials == pika.PlainCredentials("worker", "s3cret")
    external = parameters(BrokerSettings((HUB,), username=None), HUB)
    assert type(external.credentials).__name__ == "ExternalCredentials"


def test_a_key_with_a_passphrase_is_refused_without_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL would ask the terminal for the passphrase, and wait."""
    authority = trustme.CA()
    certificate = authority.issue_cert("hub")
    path = tmp_path / "client.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "client.key").write_bytes(locked)
    tls = BrokerTlsSettings(client_cert=str(path), client_key=str(tmp_path / "client.key"))
    passwords = []
    original = ssl.SSLContext.load_cert_chain

    def load(context: ssl.SSLContext, *files: Any, password: Optional[str] = None) -> None:
        passwords.append(password)
        original(context, *files, password=password or "")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    with pytest.raises(InvalidBrokerError, match="not encrypted"):
        parameters(BrokerSettings((HUB,), tls=tls), HUB)
    assert passwords == [""]


def test_tls_files_that_cannot_be_used_are_an_error_of_the_settings(tmp_path: Path) -> None:
    settings = BrokerSettings((HUB,), tls=BrokerTlsSettings(ca_path=str(tmp_path / "none.pem")))
    with pytest.raises(InvalidBrokerError, match="TLS files"):
        parameters(settings, HUB)


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (
            pika.exceptions.ProbableAuthenticationError(
                "ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused'"
            ),
            BrokerLoginRefusedError,
            "refuses the login of the user 'worker'",
        ),
        (
            pika.exceptions.ProbableAccessDeniedError(
                "ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost / not found'"
            ),
            BrokerVhostError,
            "has no virtual host '/'",
        ),
        (
            pika.exceptions.ProbableAccessDeniedError(
                "(530) \"NOT_ALLOWED - access to vhost '/' refused for user 'worker'\""
            ),
            BrokerVhostError,
            "does not let 'worker' into the virtual host",
        ),
        (
            pika.exceptions.AMQPConnectionError(ConnectionRefusedError(111, "Connection refused")),
            BrokerUnreachableError,
            "refused",
        ),
        (
            pika.exceptions.AMQPConnectionError(socket.gaierror(-2, "Name or service not known")),
            BrokerUnreachableError,
            "its name is unknown",
        ),
        (
            pika.exceptions.AMQPConnectionError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
            BrokerTlsError,
            "verify failed",
        ),
        # A broker that is starting, or a proxy without one: no reason to give up.
        (
            pika.exceptions.AMQPConnectionError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")),
            BrokerUnreachableError,
            "EOF occurred",
        ),
        (
            pika.exceptions.IncompatibleProtocolError("StreamLostError: ('Transport indicated EOF',)"),
            BrokerUnreachableError,
            "before it answers",
        ),
        # A broker that dies during the login refuses nothing.
        (
            pika.exceptions.ProbableAuthenticationError("StreamLostError: ('Transport indicated EOF',)"),
            BrokerUnreachableError,
            "before it answers",
        ),
        (
            pika.exceptions.ProbableAccessDeniedError("StreamLostError: ('Transport indicated EOF',)"),
            BrokerUnreachableError,
            "before it answers",
        ),
        (
            pika.exceptions.ProbableAuthenticationError(
                "ConnectionClosedByBroker: (320) 'CONNECTION_FORCED - broker forced connection closure with reason'"
            ),
            BrokerUnreachableError,
            "CONNECTION_FORCED",
        ),
        (
            pika.exceptions.ProbableAccessDeniedError(
                "ConnectionClosedByBroker: (530) \"NOT_ALLOWED - access to vhost '/' refused for user 'worker':"
                ' connection limit (1) is reached"'
            ),
            BrokerUnreachableError,
            "connection limit (1) is reached",
        ),
        (
            pika.exceptions.ProbableAccessDeniedError(
                "ConnectionClosedByBroker: (541) \"INTERNAL_ERROR - access to vhost '/' refused for user 'worker':"
                " vhost '/' is down\""
            ),
            BrokerUnreachableError,
            "vhost '/' is down",
        ),
        # TLS 1.3 refuses a certificate late, and pika tells of it in words.
        (
            pika.exceptions.IncompatibleProtocolError(
                "StreamLostError: (\"Stream connection lost: SSLError(1, '[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"
                " tlsv13 alert certificate required (_ssl.c:2580)')\",)"
            ),
            BrokerTlsError,
            "requires a client certificate, and none was sent",
        ),
        (pika.exceptions.IncompatibleProtocolError("x"), BrokerTlsError, "does not speak AMQP"),
        (pika.exceptions.AMQPHeartbeatTimeout("no activity"), BrokerUnreachableError, "no activity"),
        (
            pika.exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced it"),
            BrokerUnreachableError,
            "CONNECTION_FORCED",
        ),
    ],
)
def test_failure_of_a_connection_becomes_an_error_with_its_meaning(
    error: Exception, kind: type[BrokerError], text: str
) -> None:
    found = connection_error(error, SETTINGS, HUB)
    assert found.__class__ is kind
    assert "hub:5672" in str(found) and text in str(found)
    assert found.remedy
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    "code, text, kind",
    [
        (403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'worker'", BrokerForbiddenError),
        (404, "NOT_FOUND - no exchange 'llm.request' in vhost '/'", ExchangeMissingError),
        (541, "INTERNAL_ERROR", BrokerError),
    ],
)
def test_end_of_a_channel_becomes_an_error_with_its_meaning(code: int, text: str, kind: type[BrokerError]) -> None:
    found = channel_error(code, text, SETTINGS)
    assert found.__class__ is kind
    assert found.details["amqp_code"] == code
