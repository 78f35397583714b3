# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try every right at the broker that the users of the fleet might have: broker_rights.py CONTAINER URL PKI PASSWORDS

CONTAINER is the broker's host, URL is amqps://HOST:PORT/VHOST, PKI a directory of authority.py with the certificates of
the users below and of `stranger`, PASSWORDS a file of JSON with their passwords by their names; a user without one logs
in by certificate.

The permissions are written here again, after docs/fleet.md, and not taken from the role. Everything else must be
refused with 403. Queues and exchanges of every kind are made first, as somebody else's, and taken away again.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import services

#: Queues, by what they are to the fleet.
QUEUES = {
    "lane": "llm.request.ollama.chat.rights-drill",
    "shared": "llm.fleet.inference.rights-drill",
    "control": "legionio.control.rights-drill",
    "reply": "llm.fleet.reply.rights-drill",
    "updates": "ollama.s3_models.rights-drill",
    "dead letters": "ollama.dlx.queue",
    "foreign": "payroll",
}
EXCHANGES = {
    "default": "",
    "requests": "llm.request",
    "shared requests": "llm.fleet",
    "registry": "llm.registry",
    "broadcasts": "lex.ollama",
    "dead letter exchange": "ollama.dlx",
    "foreign exchange": "payroll.events",
    "predeclared": "amq.topic",
}

#: What each user may do, by right.
GRANTED: dict[str, dict[str, set[str]]] = {
    "fleet-worker": {
        "configure": {"lane", "shared", "control"},
        "write": {"default", "registry", "dead letter exchange", "lane", "shared"},
        "read": {"requests", "shared requests", "lane", "shared", "control"},
    },
    "fleet-updates": {
        "configure": {"updates"},
        "write": {"default", "registry", "updates"},
        "read": {"broadcasts", "updates"},
    },
    "requester": {
        "configure": {"reply"},
        "write": {"requests", "shared requests", "broadcasts"},
        "read": {"reply"},
    },
}


@dataclass(frozen=True)
class Try:
    """One thing that a user might do, and the rights that the broker wants for it."""

    what: str
    needs: tuple[tuple[str, str], ...]
    act: Callable[[Any], Any]


def tries() -> Iterator[Try]:
    for kind, name in QUEUES.items():
        yield Try(f"declare {name}", (("configure", kind),), lambda channel, name=name: declare(channel, name))
        yield Try(f"read {name}", (("read", kind),), lambda channel, name=name: channel.basic_get(name))
        yield Try(f"consume {name}", (("read", kind),), lambda channel, name=name: consume(channel, name))
        yield Try(f"purge {name}", (("read", kind),), lambda channel, name=name: channel.queue_purge(name))
        for other, exchange in EXCHANGES.items():
            if exchange:
                yield Try(
                    f"bind {name} to {exchange}",
                    (("write", kind), ("read", other)),
                    lambda channel, name=name, exchange=exchange: channel.queue_bind(name, exchange, "rights-drill"),
                )
    for kind, name in EXCHANGES.items():
        yield Try(
            f"publish to {name or 'the default exchange'}",
            (("write", kind),),
            lambda channel, name=name: channel.basic_publish(name, "nowhere", b""),
        )
        if name and not name.startswith("amq."):  # the broker keeps these from everybody
            yield Try(
                f"declare the exchange {name}",
                (("configure", kind),),
                lambda channel, name=name: channel.exchange_declare(name, kind_of(name), durable=True),
            )
            yield Try(
                f"delete the exchange {name}",
                (("configure", kind),),
                lambda channel, name=name: channel.exchange_delete(name),
            )
    # Last: what is deleted is there no longer.
    for kind, name in QUEUES.items():
        yield Try(f"delete {name}", (("configure", kind),), lambda channel, name=name: channel.queue_delete(name))


def kind_of(exchange: str) -> str:
    return "fanout" if exchange == "ollama.dlx" else "topic"


def declare(channel: Any, name: str) -> None:
    channel.queue_declare(name, durable=True, arguments=None)


def consume(channel: Any, name: str) -> None:
    channel.basic_cancel(channel.basic_consume(name, lambda *_delivery: None))


class Broker:
    """The broker, as its administrator and as its users see it."""

    def __init__(self, container: str, url: str, pki: Path) -> None:
        self._ctl = [*services.podman(), "exec", "--interactive", container, "rabbitmqctl", "--quiet"]
        self._podman = [*services.podman(), "exec", "--interactive", container]
        parts = urlsplit(url)
        self.host, self.port, self.vhost = parts.hostname or "", parts.port or 5671, unquote(parts.path[1:]) or "/"
        self.pki = pki

    def ctl(self, *arguments: str) -> str:
        return subprocess.run([*self._ctl, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    def make(self) -> None:
        """Make queues and an exchange that nobody of the fleet has made."""
        document = {
            "queues": [
                {"name": name, "vhost": self.vhost, "durable": True, "auto_delete": False, "arguments": {}}
                for name in QUEUES.values()
                if name != "ollama.dlx.queue"
            ],
            "exchanges": [
                {"name": "payroll.events", "vhost": self.vhost, "type": "topic", "durable": True, "auto_delete": False}
            ],
        }
        path = "/run/rights-drill.json"
        write = [*self._podman, "sh", "-c", f"umask 022; cat > {path}"]
        subprocess.run(write, check=True, input=json.dumps(document), text=True)
        self.ctl("import_definitions", path)
        subprocess.run([*self._podman, "rm", path], check=True)

    def clean(self) -> None:
        """Take away what is left of that; not by name, since a user may have deleted some of it."""
        there = self.ctl("list_queues", "--vhost", self.vhost, "--silent", "name").split()
        for name in set(QUEUES.values()) & set(there) - {"ollama.dlx.queue"}:
            self.ctl("delete_queue", name, "--vhost", self.vhost)
        delete = (
            f'rabbit_exchange:delete({{resource, <<"{self.vhost}">>, exchange, <<"payroll.events">>}}, false, <<>>).'
        )
        self.ctl("eval", delete)
        self.ctl("delete_vhost", "other")

    def context(self, certificate: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.pem"))
        if certificate:
            context.load_cert_chain(self.pki / f"{certificate}.pem", self.pki / f"{certificate}.key")
        return context

    def connect(self, user: str, password: str | None, certificate: str | None, vhost: str = "") -> Any:
        credentials: Any = pika.credentials.ExternalCredentials()
        if password is not None:
            credentials = pika.PlainCredentials(user, password)
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                self.host,
                self.port,
                vhost or self.vhost,
                credentials,
                ssl_options=pika.SSLOptions(self.context(certificate), self.host),
                connection_attempts=1,
            )
        )


def refused(connection: Any, act: Callable[[Any], Any]) -> bool:
    """Do something on a channel of its own; return whether the broker said 403."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        act(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        # Who gets as far as another obstacle had the right: what is there has other arguments, or is gone.
        return bool(error.reply_code == 403)
    channel.close()
    return False


def wrong_logins(broker: Broker, passwords: dict[str, str]) -> list[str]:
    """Try to enter in ways that must fail; return those that did not."""
    password = passwords["requester"]
    attempts: dict[str, tuple[Any, ...]] = {
        "no certificate": ("requester", password, None),
        "a wrong password": ("requester", "wrong", "requester"),
        "a certificate that no user is called by": ("", None, "stranger"),
        "guest": ("guest", "guest", "requester"),
        "another virtual host": ("requester", password, "requester", "other"),
        "an empty password": ("fleet-worker", "", "fleet-worker"),
    }
    let_in = []
    for what, arguments in attempts.items():
        try:
            broker.connect(*arguments).close()
            let_in.append(what)
        except (pika.exceptions.AMQPError, OSError):
            pass
    print(f"logins: {len(attempts)} wrong ones tried, {len(attempts) - len(let_in)} refused")
    return [f"let in with {what}" for what in let_in]


def main() -> int:
    container, url, pki, path = sys.argv[1:]
    broker = Broker(container, url, Path(pki))
    passwords: dict[str, str] = json.loads(Path(path).read_text())
    wrong = []
    broker.make()
    broker.ctl("add_vhost", "other")
    try:
        wrong += wrong_logins(broker, passwords)
        for user, granted in GRANTED.items():
            connection = broker.connect(user, passwords.get(user), user)
            done = denied = 0
            for one in tries():
                allowed = all(resource in granted[right] for right, resource in one.needs)
                was_refused = refused(connection, one.act)
                done, denied = done + 1, denied + was_refused
                if was_refused is allowed:
                    wrong.append(f"{user} {'may not' if was_refused else 'may'} {one.what}")
            connection.close()
            print(f"{user}: {done} things tried, {denied} refused, {done - denied} granted")
            wrong += [] if 0 < denied < done else [f"{user}: nothing was shown"]
            broker.make()  # again what this user may delete
    finally:
        broker.clean()
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
