# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable of every role, wrong in every way that its declaration tells, is refused by the role's preflight.

The cases are made from the argument specs, so that a new variable is among them by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.legionio.ollama.plugins.filter.value_problems import value_problems
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sound_values import CHECKSUM, SOUND

ROLES = Path(__file__).resolve().parents[3] / "roles"

#: Wrong for every option of the type.
KINDS: dict[str, tuple[Any, ...]] = {
    "bool": (None, "", "maybe", 7, [], {}, "yes\nno"),
    "dict": (None, "", "a=b", 5, ["a"], True, {1: "a"}),
    "int": (None, "", "many", "1\n", -1, 10**12, 1.5, [], {}, True, "{{ 1 }}", "5%"),
    "list": (None, "", "a,b", 5, {}, True),
    "str": (None, [], ["a"], {}, True, 0.3, "two\nlines", "bell\x07"),
}
#: Wrong for every list whose elements are of the type.
ELEMENTS: dict[str, tuple[Any, ...]] = {
    "dict": (["a"], [None], [["a"]], [1], [{}], [{"unknown": 1}]),
    "int": (["a"], [None], [{}], [1.5]),
    "str": ([None], [{}], [["a"]], ["two\nlines"], [True], [7], [0.3]),
}
PATHS = ("relative", "/with space", '/with"quote', "/with%percent")
#: Wrong by what an option means, which the end of its name tells.
MEANINGS: dict[str, tuple[Any, ...]] = {
    "_root": ("", *PATHS),
    "_home": ("", *PATHS),
    "_models_path": ("", *PATHS),
    "_link": PATHS,
    "_ca_path": ("relative",),
    "_client_key": PATHS,
    "_client_cert": PATHS,
    "_user": ("two words", "per%cent", "dollar$HOME", "{{ user }}", 'quo"te'),
    "_owner": ("", "two words", "per%cent"),
    "_group": ("", "two words", "per%cent"),
    "_endpoint_url": ("ftp://host", "host", "https://with space"),
    "_memory_max": (-1, "2 GB", "lots", "-1", "{{ x }}"),
    "_overrides": (
        {"Service": "Nice=5"},
        {"Service": {"Nice": "5\nUser=root"}},
        {"Service": {"Nice": None}},
        {"a]b": {}},
    ),
    "_environment": ({"A B": "x"}, {"A": "x\ny"}, {"A": None}, {"A": ["x"]}, {"HOME": "x"}),
    "_tls_key": PATHS,
    "_tls_cert": PATHS,
    "_listen": ("9469", "host:99999", "host:{{ port }}"),
}
#: Wrong rules of signatures: the name of a mode, a missing or unknown key, a pattern that no model can match.
RULES: tuple[Any, ...] = tuple(
    [{"models": "llama3*", "policy": "off"}, {"models": "llama3*", "policy": "off", **wrong}]
    for wrong in (
        {"policy": "enforced"},
        {"policy": False},
        {"policy": None},
        {"models": "a/b/c/d"},
        {"models": 7},
        {"models": None},
        {"models": ["llama3*"]},
        {"keys": []},
    )
)
#: Nested values and those of one option alone.
OWN: dict[str, tuple[Any, ...]] = {
    "fleet_broker_cluster": ([], ["node2"], ["node1", "node2"], ["node1", "node1", "node2"]),
    "fleet_broker_certificate_users": (["nobody"],),
    "fleet_broker_config": ({"A b": 1}, {"a": "x\ny"}, {"a": {}}, {"a": None}, {"a": [1]}, {"a": ""}, {"a": " "}),
    "fleet_broker_erlang_cookie": ("too short",),
    "fleet_broker_policies": (
        {"a": {}}, {"a": {"pattern": "x"}}, {"a": {"pattern": "x", "definition": 1}}, {"a": 1},
        *({"a": {"pattern": "x", "definition": {}, **wrong}} for wrong in (
            {"pattern": None}, {"pattern": 7}, {"priority": "high"}, {"priority": 1.5}, {"apply_to": ["queues"]},
            {"apply-to": "exchanges"}, {"apply_to": "nonsense"}, {"vhost": "/"},
        )),
    ),
    "fleet_broker_gateway_username": ("", "fleet-worker"),
    "fleet_broker_requester_username": ("", "fleet-worker"),
    "fleet_broker_worker_username": ("", "requester"),
    "fleet_gateway_broker_addresses": ([], ["amqp://hub"], ["hub:99999"], ["a b"], [""]),
    "fleet_gateway_config": ({"unknown": 1}, {"limits": {"waiting": 0}}, {"log": 1}, {"conversations": {"wait": "x"}}),
    "fleet_gateway_cors_origins": (["chat.example.com"], ["https://a b"]),
    "fleet_gateway_exchange": ("", "x" * 300),
    "fleet_gateway_keys": tuple(
        [{"name": "alice", "hash": CHECKSUM, **wrong}]
        for wrong in (
            {"name": "two words"}, {"hash": "flg_x"}, {"hash": None}, {"models": [""]}, {"models": "x"},
            {"concurrent": 0}, {"per_minute": -1}, {"weight": 0}, {"priority": 10}, {"expires": "soon"}, {"unknown": 1},
        )
    ) + ([{"name": "alice", "hash": CHECKSUM}] * 2,),
    "fleet_gateway_listen": ("0", "host:0"),
    "fleet_gateway_name": ("", "Upper", "with space", "per%cent"),
    "fleet_worker_lanes": tuple(
        [{"type": "chat", "model": "llama3", **wrong}]
        for wrong in (
            {"type": "chats"}, {"model": None}, {"model": ""}, {"model": "two words"}, {"model": "a\nb"},
            {"deadline": -1}, {"deadline": "long"}, {"style": "own"}, {"priority": 101}, {"unknown": 1},
            {"keep_alive": "for ever"},
            {"option_ranges": {"num_predict": [2, 1]}}, {"context_window": 4096}, {"style": "shared", "deadline": 300},
        )
    ),
    "fleet_worker_auto_lanes_settings": ({"model": "x"}, {"types": ["chats"]}, {"deadline": -1}, {"keep_alive": []}),
    "fleet_worker_auto_lanes_allow": ([], [""], ["a/b/c/d"]),
    "fleet_worker_auto_lanes_styles": ([], ["own"]),
    "fleet_worker_model_concurrency": ({"a": 0}, {"a": "x"}, {"two words": 1}, {"a": None}),
    "fleet_worker_broker_addresses": ([], ["amqp://hub"], ["hub:99999"], ["a b"], [""]),
    "fleet_worker_config": ({"unknown": 1}, {"ollama": {"patience": "x"}}, {"lanes": [{"type": "chat"}]}, {"log": 1}),
    "fleet_worker_exchanges": ([], ["a", "a"], ["x" * 300]),
    "fleet_worker_ollama_headers": ({"A": "x\ny"}, {"a b": "c"}),
    "fleet_worker_ollama_host": ("", "gpu", "ftp://gpu", "http://user:pass@gpu", "http://gpu:99999", "http://[::1]:0/x"),
    "fleet_worker_name": ("", "Upper", "ollama", "x-updates", "with space", "per%cent"),
    "fleet_worker_updates_models": ([], [""], ["a/b/c/d"]),
    "fleet_worker_updates_signature_keys": (["/etc/keys/models.pub"],),
    "fleet_worker_updates_signature_rules": RULES,
    "ollama_models_names": ([""], ["a", "a"], ["two words"], ["a/b/c/d"], ["llama3:"], ["-a"], ["llama3*"]),
    "ollama_models_peers_addresses": (["http://x"], ["gpu:99999"], ["a b"], [""]),
    "ollama_models_peers_listen": ("", "999.1.1.1", "gpu-1", "0.0.0.0:1", "::::", "fe80::1%eth0"),
    "ollama_models_peers_models": (["a/b/c/d"], ["llama3:"], [""], ["hf.co/x*"]),
    "ollama_models_s3_profile": ("beside a key",),
    "ollama_models_signature_keys": (["/etc/keys/models.pub"],),
    "ollama_models_signature_rules": RULES,
    "ollama_server_checksum": ("", "sha256:1", "md5:" + "0" * 32),
    "ollama_server_host": ("", "127.0.0.1", "a b:1", "127.0.0.1:99999", "[::1]:0", "0.0.0.0:65536"),
    "ollama_server_models_mode": ("rwx", "9999", 7),
    "ollama_server_s3_profile": ("beside a key",),
    "ollama_server_version": ("", "../x", "a b", "{{ v }}"),
}  # fmt: skip


def public_key() -> str:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()


#: What brings the other options into use.
IN_USE: dict[str, dict[str, Any]] = {
    **SOUND,
    "fleet_gateway": {**SOUND["fleet_gateway"], "fleet_gateway_broker_tls": True},
    "ollama_models": {
        **SOUND["ollama_models"],
        "ollama_models_peers": True,
        "ollama_models_peers_secret": "0123456789abcdef" * 2,
        "ollama_models_s3_access_key": "key",
        "ollama_models_s3_secret_key": "secret",
    },
    "ollama_server": {
        **SOUND["ollama_server"],
        "ollama_server_s3_access_key": "key",
        "ollama_server_s3_secret_key": "secret",
    },
    "fleet_worker": {
        **SOUND["fleet_worker"],
        "fleet_worker_auto_lanes": True,
        "fleet_worker_updates": True,
        "fleet_worker_updates_models": ["llama3*"],
        "fleet_worker_updates_s3_bucket": "models",
        "fleet_worker_updates_broker_password": "secret",
        "fleet_worker_updates_signature_policy": "warn",
        "fleet_worker_updates_signature_keys": [public_key()],
        "fleet_worker_broker_tls": True,
    },
}
ROLE_NAMES = sorted(path.name for path in ROLES.iterdir() if path.name in IN_USE)


def options_of(role: str) -> dict[str, Any]:
    options: dict[str, Any] = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"][
        "main"
    ]["options"]
    return options


def wrong_values(name: str, option: dict[str, Any]) -> Iterator[Any]:
    kind = option["type"]
    yield from KINDS[kind]
    if kind == "str" and not name.endswith("_memory_max"):
        yield 7
    if kind == "list":
        yield from ELEMENTS[option["elements"]]
    if "choices" in option:
        yield ["neither"] if kind == "list" else "neither"
    for end, values in MEANINGS.items():
        if name.endswith(end):
            yield from values
    yield from OWN.get(name, ())


def cases() -> Iterator[tuple[str, str, Any]]:
    for role in ROLE_NAMES:
        for name, option in options_of(role).items():
            for value in wrong_values(name, option):
                yield role, name, value


def test_every_option_is_in_the_sweep() -> None:
    assert {name for _role, name, _value in cases()} == {name for role in ROLE_NAMES for name in options_of(role)}
    assert set(OWN) <= {name for role in ROLE_NAMES for name in options_of(role)}


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_every_wrong_value_is_refused_by_a_message_that_names_the_variable(evaluate: Any, role: str) -> None:
    passed = []
    known = options_of(role)
    for which, name, value in cases():
        if which != role:
            continue
        problems = value_problems({name: value}, known)
        if not problems:
            try:
                problems = evaluate(role, f"__{role}_problems", **{**IN_USE[role], name: value})
            except AnsibleError as error:
                passed.append(f"{name}={value!r} breaks the check itself: {str(error)[:200]}")
                continue
        if not any(name in problem for problem in problems):
            passed.append(f"{name}={value!r} is reported as {problems}")
    assert passed == [], "\n".join(passed)


def test_problem_of_a_number_instead_of_a_text_has_a_remedy_and_hides_the_number() -> None:
    options = {"a_password": {"type": "str"}, "some_names": {"type": "list", "elements": "str"}}
    problems = value_problems({"a_password": 8379, "some_names": ["a", 8379]}, options)
    assert problems == [
        "a_password must be a text, but is a number; put the value in quotes",
        "some_names must have a text in each entry, but entry 2 is a number; put the value in quotes",
    ]


@pytest.mark.parametrize("role", ["fleet_gateway", "fleet_worker"])
def test_limit_of_memory_may_be_a_number_of_bytes(evaluate: Any, role: str) -> None:
    size = {name: 2**31 for name in options_of(role) if name.endswith("_memory_max")}
    assert size
    assert value_problems(size, options_of(role)) == []
    assert evaluate(role, f"__{role}_problems", **{**IN_USE[role], **size}) == []


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_values_of_the_sweep_are_sound_but_for_the_wrong_one(evaluate: Any, role: str) -> None:
    assert evaluate(role, f"__{role}_problems", **IN_USE[role]) == []


@pytest.mark.parametrize(
    "role, name",
    [
        ("ollama_models", "ollama_models_signature_keys"),
        ("fleet_worker", "fleet_worker_updates_signature_keys"),
        ("fleet_worker", "fleet_worker_updates_broadcast_keys"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_public_key_in_pem_passes_with_its_line_breaks(evaluate: Any, role: str, name: str, end: str) -> None:
    key = public_key() + end
    assert value_problems({name: [key]}, options_of(role)) == []
    assert evaluate(role, f"__{role}_problems", **{**IN_USE[role], name: [key]}) == []
    assert value_problems({name: [f"{key}\nExecStartPre=/bin/true"]}, options_of(role)) != []
