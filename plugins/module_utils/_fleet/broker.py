# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The broker: its addresses, the credentials, and the meaning of its refusals.

Only the functions that need pika import it, so the others work without it.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import unquote, urlsplit

from .._ollama.errors import MissingDependencyError
from .._ollama.exhaustion import exhausted
from .._ollama.text import printable, without_credentials
from .errors import (
    BrokerError,
    BrokerForbiddenError,
    BrokerLoginRefusedError,
    BrokerTlsError,
    BrokerUnreachableError,
    BrokerVhostError,
    ExchangeMissingError,
    InvalidBrokerError,
)

PORT = 5672
TLS_PORT = 5671

#: Seconds for a TCP connection, and for TCP, TLS and AMQP together.
CONNECT_TIMEOUT = 10
STACK_TIMEOUT = 15

#: The first of the reply codes with which a broker ends a connection because of an invalid frame (AMQP 0-9-1, 1.2).
ENDED_FOR_AN_ERROR = 500

_HOST = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Address:
    """One node of the broker."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, tls: bool) -> Address:
        """Read ``host[:port]``; an IPv6 address with a port stands in brackets.

        :param tls: whether the default port is that of TLS.
        :raises InvalidBrokerError: for any other text.
        """
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text.strip())
        if match is None or not (match[1] or _HOST.fullmatch(match[2])) or not 0 < int(match[3] or 1) < 65536:
            raise InvalidBrokerError(
                f"{printable(without_credentials(text))!r} is not the address of a broker",
                remedy="Write it as host[:port], for example hub.example.com:5672",
            )
        return cls(match[1] or match[2], int(match[3] or (TLS_PORT if tls else PORT)))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class BrokerTlsSettings:
    """The verification of the broker by TLS, and the client certificate. Paths of PEM files."""

    validate: bool = True
    ca_path: Optional[str] = None
    client_cert: Optional[str] = None
    client_key: Optional[str] = None


@dataclass(frozen=True)
class BrokerSettings:
    """The settings of a connection.

    :ivar username: None to log in by the client certificate (SASL EXTERNAL).
    :ivar heartbeat: the seconds of silence after which the connection counts as dead.
    :ivar tls: None for a connection that is not encrypted.
    :ivar name: the connection name that the broker's own tools show.
    """

    addresses: tuple[Address, ...]
    vhost: str = "/"
    username: Optional[str] = "guest"
    password: str = field(default="guest", repr=False)
    heartbeat: int = 30
    tls: Optional[BrokerTlsSettings] = None
    name: str = "legionio.ollama"

    @classmethod
    def from_url(cls, url: str, tls: BrokerTlsSettings = BrokerTlsSettings(), **others: Any) -> BrokerSettings:
        """Read ``amqp[s]://[user:password@]host[:port][/vhost]``, percent-encoded where needed.

        :param tls: used when the scheme is ``amqps``. Its client certificate logs in unless the URL names a user.
        :raises InvalidBrokerError: for any other text, and for TLS files beside ``amqp``. The message never repeats the
            password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        # With a / ? or # in it, a password ends the host, and the part with the real host comes behind.
        cut = parts.username is None and "@" in parts.path + parts.query + parts.fragment
        if parts.scheme not in ("amqp", "amqps") or not host or port == 0 or cut:
            raise InvalidBrokerError(
                "The URL of the broker cannot be read",
                remedy="Write it as amqp[s]://user:password@host[:port][/vhost], and percent-encode characters such as"
                " / ? # @ % in its parts; or give host, user name and password without a URL",
            )
        encrypted = parts.scheme == "amqps"
        if not encrypted and (tls.ca_path or tls.client_cert):
            raise InvalidBrokerError(
                "There are TLS files for the broker, but the scheme of its URL is amqp, which is not encrypted",
                remedy="Write the URL with amqps, or omit the TLS files",
            )
        credentials: dict[str, Any] = {}
        if parts.username is not None:
            credentials = {"username": unquote(parts.username), "password": unquote(parts.password or "")}
        elif tls.client_cert:
            credentials = {"username": None}
        return cls(
            addresses=(Address(host, port or (TLS_PORT if encrypted else PORT)),),
            # "amqp://host/" formally names the virtual host without a name, which nobody has: read it as the default.
            vhost=unquote(parts.path[1:]) or "/",
            tls=tls if encrypted else None,
            **credentials,
            **others,
        )


def parameters(settings: BrokerSettings, address: Address) -> Any:
    """Return ``pika.ConnectionParameters`` for one of the addresses.

    :raises MissingDependencyError: without pika.
    :raises InvalidBrokerError: if the TLS files cannot be used.
    """
    try:
        import pika
        import pika.credentials
    except ImportError as error:
        raise MissingDependencyError("pika", "talk to the broker") from error

    credentials: Any = pika.credentials.ExternalCredentials()
    if settings.username is not None:
        credentials = pika.PlainCredentials(settings.username, settings.password)
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=settings.vhost,
        credentials=credentials,
        heartbeat=settings.heartbeat,
        connection_attempts=1,
        socket_timeout=CONNECT_TIMEOUT,
        stack_timeout=STACK_TIMEOUT,
        ssl_options=pika.SSLOptions(_ssl_context(settings.tls), address.host) if settings.tls else None,
        client_properties={"connection_name": settings.name, "product": "legionio.ollama"},
    )


def _ssl_context(tls: BrokerTlsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_path)
        if not tls.validate:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.client_cert:
            # Without a password, OpenSSL asks the terminal for that of an encrypted key, and waits.
            context.load_cert_chain(tls.client_cert, tls.client_key, password="")
    except (OSError, ValueError) as error:
        raise InvalidBrokerError(
            f"The TLS files for the broker cannot be used: {error}",
            remedy="Check that they exist, that this user may read them, that the key is not encrypted, and that"
            " certificate and key belong together",
        ) from error
    return context


def connection_error(error: BaseException, settings: BrokerSettings, address: Address) -> BrokerError:
    """Return the error for a failed or lost connection.

    :param error: the error that pika passed to ``on_open_error_callback`` or ``on_close_callback``.
    """
    where = str(address)
    causes = list(_causes(error))
    text = " ".join(str(cause) or type(cause).__name__ for cause in causes)
    kinds = {type(cause).__name__ for cause in causes}
    details: dict[str, Any] = {"broker": where, "vhost": settings.vhost}
    # pika's "Probable" errors only tell when the connection ended. A broker that dies at that moment refuses nothing.
    if "AuthenticationError" in kinds or "ACCESS_REFUSED" in text:
        if settings.username is None:
            return BrokerLoginRefusedError(
                f"The broker {where} refuses the login of the client certificate",
                remedy="Enable its plugin rabbitmq_auth_mechanism_ssl and the mechanism EXTERNAL, and create a user of"
                " the name that is in the certificate (ssl_cert_login_from): rabbitmqctl list_users",
                **details,
            )
        return BrokerLoginRefusedError(
            f"The broker {where} refuses the login of the user {settings.username!r}",
            remedy="Correct the user name and the password, or create the user: rabbitmqctl list_users",
            **details,
        )
    closed_by_limit = re.search(r"connection limit \(\d+\) is reached|vhost '[^']*' is down", text)
    if closed_by_limit:
        return BrokerUnreachableError(
            f"The broker {where} takes no connection of {settings.username!r} to the virtual host {settings.vhost!r}:"
            f" {printable(closed_by_limit[0])}",
            remedy="Raise the limit (rabbitmqctl list_vhost_limits, list_user_limits), or start the virtual host again"
            " (rabbitmqctl restart_vhost)",
            **details,
        )
    if "NOT_ALLOWED" in text:
        if "not found" in text:
            message = f"The broker {where} has no virtual host {settings.vhost!r}"
            remedy = f"Correct its name, or create it: rabbitmqctl add_vhost {settings.vhost}"
        else:
            message = f"The broker {where} does not let {settings.username!r} into the virtual host {settings.vhost!r}"
            remedy = f"Give the user permissions there: rabbitmqctl list_permissions -p {settings.vhost}"
        return BrokerVhostError(message, remedy=remedy, **details)
    trouble = _tls_trouble(causes, text, settings, address)
    if trouble is not None:
        message, remedy = trouble
        return BrokerTlsError(message, remedy=remedy, **details)
    early = {"IncompatibleProtocolError", "ProbableAuthenticationError", "ProbableAccessDeniedError"}
    if kinds & early and "StreamLostError" in text:
        # A starting or dying broker does this, a proxy without a broker, and a TLS port that gets plain AMQP.
        return BrokerUnreachableError(
            f"The broker {where} closes the connection before it answers",
            remedy=f"Wait if it is starting; else correct the port: RabbitMQ speaks AMQP at {PORT} and AMQP over TLS at"
            f" {TLS_PORT}",
            **details,
        )
    if "IncompatibleProtocolError" in kinds:
        return BrokerTlsError(
            f"The server at {where} does not speak AMQP 0-9-1 {'over TLS' if settings.tls else 'without TLS'}",
            remedy=f"Correct the port: RabbitMQ speaks AMQP at {PORT} and AMQP over TLS at {TLS_PORT}",
            **details,
        )
    closed = next((cause for cause in causes if type(cause).__name__ == "ConnectionClosedByBroker"), None)
    code = getattr(closed, "reply_code", 0)
    if code >= ENDED_FOR_AN_ERROR:
        return BrokerError(
            f"The broker {where} ended the connection: {code} {printable(getattr(closed, 'reply_text', ''))}",
            remedy="Read the log of the broker, which names the refused frame",
            amqp_code=code,
            **details,
        )
    limit = next(filter(None, map(exhausted, causes)), None)
    if limit is not None:
        return BrokerUnreachableError(
            f"There is no connection to the broker {where}: {limit.message}", remedy=limit.remedy, **details
        )
    return BrokerUnreachableError(
        f"The broker {where} cannot be reached: {printable(_reason(causes), 500)}",
        remedy="Check the address, that RabbitMQ runs there, and that no firewall blocks it",
        **details,
    )


def channel_error(code: int, text: str, settings: BrokerSettings) -> BrokerError:
    """Return the error for a channel that the broker has closed.

    :param code: reply code of AMQP 0-9-1, such as 403 or 404.
    :param text: its reply text.
    """
    text = printable(text, 500)
    details: dict[str, Any] = {"vhost": settings.vhost, "amqp_code": code}
    if code == 403:
        return BrokerForbiddenError(
            f"The broker denies access to the user {settings.username!r}: {text}",
            remedy=f"Give the user the permission: rabbitmqctl list_permissions -p {settings.vhost}",
            **details,
        )
    exchange = re.search(r"no exchange '([^']*)'", text)
    if code == 404 and exchange:
        return ExchangeMissingError(
            f"The exchange {exchange[1]!r} does not exist in the virtual host {settings.vhost!r}",
            remedy="Let the set-up of the broker declare it: topic, durable, not deleted automatically",
            exchange=exchange[1],
            **details,
        )
    return BrokerError(f"The broker closed the channel: {code} {text}", remedy="Read the log of the broker", **details)


def _causes(error: Optional[BaseException]) -> Any:
    """Yield an error, and the errors of attempts and phases that pika has wrapped in it."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        queue += [arg for arg in (*current.args, *getattr(current, "exceptions", ())) if isinstance(arg, BaseException)]
        queue += [getattr(current, "exception", None), current.__cause__, current.__context__]


def _tls_trouble(
    causes: list[BaseException], text: str, settings: BrokerSettings, address: Address
) -> Optional[tuple[str, str]]:
    """Return the message and the remedy for a failed TLS handshake, or for a side without TLS; None for other failures.

    With TLS 1.3, the broker refuses a client's certificate after the handshake. Then only the text of pika's error has
    the reason.
    """
    failure = next((cause for cause in reversed(causes) if isinstance(cause, ssl.SSLError)), None)
    alert = re.search(r"\[SSL: ([A-Z0-9_]+)\]([^('\"]*)", text)
    reason = getattr(failure, "reason", None) or (alert[1] if alert else "")
    # A connection that only ends says nothing about certificates: a starting broker also ends connections.
    if isinstance(failure, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)) or "EOF" in reason:
        return None
    if failure is None and alert is None:
        return None
    words = (alert[2].strip() if alert else "") or str(failure)
    tls = settings.tls or BrokerTlsSettings()
    own = f"the client certificate {tls.client_cert}" if tls.client_cert else "a client certificate"
    # OpenSSL's codes X509_V_ERR_* (x509_vfy.h), unchanged since 1.0.
    code = getattr(failure, "verify_code", 0)
    if code in (9, 10):
        return (
            f"The certificate of the broker {address} {'has expired' if code == 10 else 'is not valid yet'}",
            "Renew it at the broker; if it is valid now, correct the clock of this machine",
        )
    if code in (18, 19, 20, 21):
        known = tls.ca_path or "the certificates of the system"
        return (
            f"The certificate of the broker {address} is not signed by an authority in {known}",
            "Set ca_path to the file with the certificate of the authority that signed it",
        )
    if code in (62, 64):
        return (
            f"The certificate of the broker {address} is not for {address.host}",
            "Use an address that is in the certificate, or issue a certificate for this name",
        )
    if "CERTIFICATE_REQUIRED" in reason or ("HANDSHAKE_FAILURE" in reason and not tls.client_cert):
        return (
            f"The broker {address} requires a client certificate, and none was sent",
            "Set client_cert and client_key to a certificate that its authority has signed, and its key",
        )
    if "CERTIFICATE_EXPIRED" in reason:
        return f"The broker {address} says that {own} has expired", "Renew it; if it is still valid, compare the clocks"
    if "ALERT" in reason and ("UNKNOWN_CA" in reason or "CERTIFICATE" in reason):
        return (
            f"The broker {address} refuses {own}: {words}",
            "Have it signed by an authority that the broker knows (cacertfile of its ssl_options)",
        )
    return (
        f"The encryption of the connection to the broker {address} failed: {words}",
        f"Check that the port speaks TLS; RabbitMQ does so at {TLS_PORT}",
    )


def _reason(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"its name is unknown ({cause.strerror})"
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
    last = causes[-1]
    return str(last) or type(last).__name__
