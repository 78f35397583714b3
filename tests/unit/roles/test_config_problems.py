# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role refuses on the controller what the worker would refuse on the node, and nothing else.

Every value of a whole configuration is made wrong in turn; the worker's own judgement is what counts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import config_schemas
import pytest
from ansible_collections.legionio.ollama.plugins.filter.config_problems import config_problems
from fleet_gateway.settings.config import Config as GatewayConfig
from fleet_gateway.settings.keys import KeysFile
from fleet_gateway.settings.sections import ConfigError as GatewayConfigError
from fleet_gateway.settings.sections import checked as checked_by_the_gateway
from fleet_worker.settings.config import Config
from fleet_worker.settings.sections import ConfigError, checked
from fleet_worker.updates.config import UpdatesConfig

ROLES = Path(__file__).resolve().parents[3] / "roles"
DAEMONS = ("fleet_worker", "fleet_gateway")

SCHEMAS = {
    name: schema
    for role in DAEMONS
    for name, schema in json.loads((ROLES / role / "meta/config_schemas.json").read_text()).items()
}
TLS = {"ca_path": "/ca", "client_cert": "/cert", "client_key_credential": "key", "validate": True}
BROKER = {
    "addresses": ["hub", "[::1]:5671"],
    "vhost": "/",
    "username": "worker",
    "password_credential": "broker-password",
    "heartbeat": 30,
    "tls": TLS,
}
LOG = {"format": "json", "level": "info"}
SHARED = {
    "type": "chat",
    "model": "llama3",
    "style": "shared",
    "context_window": 4096,
    "deadline": 120,
    "priority": 5,
    "consumer_priority": 10,
    "keep_alive": "10m",
    "option_ranges": {"num_predict": [1, 4096]},
    "suffixes": ["ctx32768"],
    "instance": None,
}
WORKER: dict[str, Any] = {
    "node": "gpu-01",
    "broker": BROKER,
    "ollama": {
        "host": "http://127.0.0.1:11434",
        "connect_timeout": 10,
        "headers": {"Authorization": "x"},
        "headers_credential": "headers",
        "exclusive": True,
        "interval": 15,
        "patience": 30,
    },
    "concurrency": 2,
    "model_concurrency": {"llama3:70b": 1},
    "embed_batch": {"count": 32, "bytes": 262144},
    "broken_model": {"failures": 3, "pause": 30, "longest": 600},
    "duplicate_window": 600,
    "starvation": 10,
    "drain_timeout": 300,
    "exchanges": ["llm.request", "llm.fleet"],
    "legacy_reply_exchange": "agent",
    "reply_queues": ["llm.fleet.reply.*"],
    "max_reply_bytes": 1048576,
    "max_request_bytes": 1048576,
    "allow_runner_options": False,
    "lanes": [
        SHARED,
        {"type": "embed", "model": "all-minilm"},
        {"type": "chat", "model": "x", "style": "offering"},
        {"type": "chat", "model": "y"},
    ],
    "own_lanes": True,
    "auto_lanes": {
        "allow": ["*"],
        "deny": ["*:70b"],
        "styles": ["model", "shared"],
        "types": ["chat"],
        "context_window": 4096,
        "deadline": 120,
        "priority": 1,
        "consumer_priority": 1,
        "keep_alive": -1,
        "option_ranges": {"temperature": [0, 1.5]},
        "suffixes": ["ctx32768"],
    },
    "status_socket": "/run/fleet-worker/status.sock",
    "protocol": {
        "versions": [2],
        "instances": ["default"],
        "secret_credential": "cluster-secret",
        "tokens": "required",
        "decrypt": True,
        "issuer": "legion",
        "audience": "legion",
    },
    "registry": {"enabled": True, "version2": True, "heartbeat_interval": 30},
    "metrics": {"listen": "127.0.0.1:9469"},
    "log": LOG,
}
PUBLIC_KEY = (
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGOfQNhPeb0nBzQWB5QlTNuKF1QPo\n"
    "t3Kj2EkudY49cfHTVqXhxc7zkS2atsiLW4DOhHOK+cZXxe2Ysrz7Pls1qw==\n-----END PUBLIC KEY-----\n"
)
UPDATES: dict[str, Any] = {
    "node": "gpu-01",
    "broker": BROKER,
    "exchange": "lex.ollama",
    "mirror": {
        "bucket": "models",
        "prefix": "ollama/models",
        "endpoint_url": "https://s3",
        "region": "x",
        "access_key_credential": "a",
        "secret_key_credential": "b",
        "addressing_style": "auto",
        "validate": True,
        "ca_path": "/ca",
    },
    "peers": {
        "addresses": ["gpu-02:11480"],
        "secret_credential": "c",
        "max_bandwidth": 1048576,
        "ca_path": "/ca",
        "client_cert": "/cert",
        "client_key_credential": "d",
    },
    "broadcasts": {
        "policy": "enforce",
        "keys": [PUBLIC_KEY],
        "record": "/var/lib/fleet-worker-updates/broadcasts.json",
    },
    "signatures": {
        "policy": "enforce",
        "rules": [{"models": "hf.co/*", "policy": "warn"}],
        "keys": [PUBLIC_KEY],
    },
    "models_path": "/models",
    "models": ["llama3*"],
    "reply_queues": ["llm.fleet.reply.*"],
    "log": LOG,
}
GATEWAY: dict[str, Any] = {
    "node": "front-01",
    "broker": BROKER,
    "exchange": "llm.request",
    "listen": "127.0.0.1:11435",
    "tls": {"cert": "/cert.pem", "key_credential": "tls-key"},
    "keys_file": "/etc/keys.yml",
    "state_directory": "/var/lib/gateway",
    "allowed_hosts": ["front.example.com"],
    "deadline": 280,
    "node_timeout": 75,
    "drain_timeout": 300,
    "cors_origins": ["https://chat.example.com"],
    "open_metrics": False,
    "page": "open",
    "limits": {
        "body_bytes": 1048576,
        "head_bytes": 65536,
        "head_seconds": 15,
        "body_seconds": 60,
        "connections": 2000,
        "unread_bytes": 1048576,
        "unread_seconds": 60,
        "waiting": 1000,
    },
    "conversations": {"stay": True, "wait": 1},
    "log": LOG,
}
KEYS: dict[str, Any] = {
    "keys": [
        {
            "name": "alice",
            "hash": "sha256:" + "0" * 64,
            "models": ["llama3*"],
            "concurrent": 1,
            "per_minute": 60,
            "tokens_per_day": 1000,
            "weight": 1,
            "priority": 5,
            "operator": True,
            "expires": "2030-01-01",
        },
        {"name": "bob", "hash": "sha256:" + "1" * 64},
    ]
}
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "worker": (Config, WORKER),
    "updates": (UpdatesConfig, UPDATES),
    "gateway": (GatewayConfig, GATEWAY),
    "keys": (KeysFile, KEYS),
}

CHECKED: dict[str, Any] = {
    "worker": checked, "updates": checked, "gateway": checked_by_the_gateway, "keys": checked_by_the_gateway
}  # fmt: skip

#: What any value may be replaced by.
WRONG: tuple[Any, ...] = (
    None, "", "text", "5", "a\nb", "x" * 300, 'a"b', "100%", "$HOME", "{{ x }}", "ä", "*", "a:", -1, 0, 1, 5, 281,
    1.5, 10**12, True, False, [], ["a", "a"], [1], [2, 1], {}, {"unknown": 1}, {"num_predict": [2, 1]},
    "chats", "10 minutes",
)  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a document."""
    if path:
        yield path
    for key, one in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(one, (*path, key))


def changed(document: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    made = copy.deepcopy(document)
    parent: Any = made
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return made


def wrong_documents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents with one value replaced, removed, or with a neighbour that nobody knows."""
    for path in places(document):
        name = ".".join(map(str, path))
        for value in WRONG:

            def replace(parent: Any, key: Any, value: Any = value) -> None:
                parent[key] = copy.deepcopy(value)

            yield f"{name}={value!r}", changed(document, path, replace)
        yield f"{name} removed", changed(document, path, lambda parent, key: parent.pop(key))
        if isinstance(path[-1], str):
            yield f"{name} and another", changed(document, path, lambda parent, _key: parent.update(another=1))


def refused_by_the_daemon(kind: str, document: dict[str, Any]) -> list[str]:
    try:
        CHECKED[kind](KINDS[kind][0], document)
    except (ConfigError, GatewayConfigError) as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_document_with_one_wrong_value_is_judged_as_the_daemon_judges(kind: str) -> None:
    refused = differences = 0
    for name, document in wrong_documents(KINDS[kind][1]):
        ours, theirs = config_problems(document, SCHEMAS[kind]), refused_by_the_daemon(kind, document)
        refused += bool(theirs)
        if bool(ours) != bool(theirs):
            differences += 1
            print(f"{name}: the role says {ours}, the daemon {theirs}")
    assert differences == 0
    assert refused > 100


@pytest.mark.parametrize("kind", KINDS)
def test_whole_document_is_accepted_and_has_every_key(kind: str) -> None:
    """A key that is new in the worker fails here until the sweep above has a value for it."""
    model, document = KINDS[kind]
    assert (config_problems(document, SCHEMAS[kind]), refused_by_the_daemon(kind, document)) == ([], [])
    shown = CHECKED[kind](model, document).model_dump(mode="json", by_alias=True)
    assert {path for path in places(shown) if isinstance(path[-1], str) and not {"lanes", 1} & {*path}} <= set(
        places(document)
    )
    assert set(shown["lanes"][0] if kind == "worker" else ()) <= set(SHARED)


def test_problem_names_the_variable_and_never_more_than_twenty() -> None:
    document = {**WORKER, "lanes": [{**SHARED, "deadline": -1}] * 30}
    found = config_problems(document, SCHEMAS["worker"], {"lanes": "fleet_worker_lanes"})
    assert len(found) == 20
    assert found[0].startswith("fleet_worker_lanes (lanes.0.deadline) must be more than 0")


@pytest.mark.parametrize("role", DAEMONS)
def test_schemas_are_those_that_the_daemon_writes(role: str) -> None:
    """Otherwise: tests/tools/config_schemas.py says how to write them again."""
    assert (ROLES / role / "meta/config_schemas.json").read_text() == config_schemas.text(role)
