# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that cannot work are refused before anything changes, each by a message that names it; sound ones pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sound_values import SOUND

PEERS = {"ollama_models_peers": True, "ollama_models_peers_secret": "0123456789abcdef" * 2}
ROLES = Path(__file__).resolve().parents[3] / "roles"


@pytest.mark.parametrize(
    "role, options",
    [
        ("ollama_server", {}),
        (
            "ollama_server",
            {"ollama_server_source": "mirror", "ollama_server_mirror_key": "k", "ollama_server_s3_bucket": "b"},
        ),
        (
            "ollama_server",
            {"ollama_server_source": "controller", "ollama_server_file": "/f", "ollama_server_checksum": ""},
        ),
        ("ollama_server", {"ollama_server_host": "[::]:11434", "ollama_server_environment": {"OLLAMA_NO_CLOUD": 1}}),
        ("ollama_server", {"ollama_server_start_timeout": "3600"}),
        ("ollama_server", {"ollama_server_release": "0.24.0-0123456789ab"}),
        ("ollama_models", {}),
        ("ollama_models", {"ollama_models_names": [], "ollama_models_s3_bucket": ""}),
        ("ollama_models", {"ansible_host": "2001:db8::1"}),
        ("ollama_models", {**PEERS, "ansible_host": "192.0.2.1"}),
        ("ollama_models", {**PEERS, "ansible_host": "2001:db8::1", "ollama_models_peers_listen": "::"}),
        ("ollama_models", {**PEERS, "ansible_host": "2001:db8::1", "ollama_models_peers_addresses": ["a", "[::2]:1"]}),
        ("ollama_models", {**PEERS, "ollama_models_peers_pause_while_busy": True}),
        ("ollama_models", {**PEERS, "fleet_worker_metrics_listen": ""}),
        ("fleet_worker", {}),
        ("fleet_worker", {"fleet_worker_metrics_listen": "", "fleet_worker_registry_heartbeat": "1"}),
        ("fleet_worker", {"fleet_worker_metrics_listen": "[::]:9469"}),
        ("fleet_worker", {"fleet_worker_concurrency": "256", "fleet_worker_wheelhouse": "wheels"}),
        ("fleet_worker", {"fleet_worker_lanes": [], "fleet_worker_auto_lanes": "yes"}),
        (
            "fleet_worker",
            {"fleet_worker_auto_lanes_settings": {"keep_alive": "10m", "option_ranges": {"seed": [0, 1]}}},
        ),
        ("fleet_worker", {"fleet_worker_memory_max": "", "fleet_worker_updates_memory_max": "10%"}),
        ("fleet_worker", {"fleet_worker_memory_max": 536870912, "fleet_worker_updates_memory_max": "512M"}),
    ],
)
def test_sound_values_pass(evaluate: Any, role: str, options: dict[str, Any]) -> None:
    assert evaluate(role, f"__{role}_problems", **{**SOUND[role], **options}) == []


@pytest.mark.parametrize(
    "role, options, message",
    [
        ("ollama_server", {"ollama_server_checksum": ""}, "ollama_server_checksum must be"),
        ("ollama_server", {"ollama_server_checksum": "sha256:" + "0" * 63}, "ollama_server_checksum must be"),
        ("ollama_server", {"ollama_server_version": ""}, "ollama_server_version is empty"),
        ("ollama_server", {"ollama_server_version": "../../etc"}, "ollama_server_version may have"),
        ("ollama_server", {"ollama_server_url": "ftp://x/y"}, "ollama_server_url is not an http"),
        ("ollama_server", {"ollama_server_source": "mirror"}, "ollama_server_mirror_key"),
        ("ollama_server", {"ollama_server_source": "controller"}, "ollama_server_file"),
        ("ollama_server", {"ollama_server_host": "127.0.0.1"}, "ADDRESS:PORT"),
        ("ollama_server", {"ollama_server_models_path": "models"}, "absolute paths"),
        ("ollama_server", {"ollama_server_models_path": "/srv/[a]"}, "glob characters"),
        ("ollama_server", {"ollama_server_models_path": "/tmp/models"}, "must not be in /tmp"),
        ("ollama_server", {"ollama_server_environment": {"OLLAMA_MODELS": "/x"}}, "use ollama_server_home"),
        ("ollama_server", {"ollama_server_environment": {"A B": "x"}}, "invalid variable name"),
        ("ollama_server", {"ollama_server_environment": {"A": "x\ny"}}, "line break"),
        ("ollama_server", {"ollama_server_unit_overrides": {"Service": "Nice=5"}}, "sections to directives"),
        ("ollama_server", {"ollama_server_releases_kept": 0}, "must be 1 to 100"),
        ("ollama_server", {"ollama_server_start_timeout": "0"}, "1 to 3600"),
        ("ollama_server", {"ollama_server_release": "../x"}, "ollama_server_release must be the name of a release"),
        ("ollama_models", {"ollama_models_s3_bucket": ""}, "set it to the bucket"),
        ("ollama_models", {"ollama_models_names": ["a", "a"]}, "a name twice"),
        ("ollama_models", {"ollama_models_names": [""]}, "empty name"),
        ("ollama_models", {"ollama_models_names": [], "ollama_models_prune": True}, "would remove every model"),
        ("ollama_models", {"ollama_models_path": "x"}, "absolute path"),
        ("ollama_models", {"ollama_models_s3_access_key": "k"}, "go together"),
        *(
            (role, {f"{role}_s3_{name}": "x" for name in names.split()}, message)
            for role in ("ollama_models", "ollama_server")
            for names, message in (
                ("profile access_key secret_key", "two sources of one credential; empty one of them"),
                ("session_token", "_access_key, which is empty; set both or none"),
            )
        ),
        ("ollama_models", {"ollama_models_names": ["a/b/c/d"]}, "ollama_models_names: 'a/b/c/d' is not a model name"),
        ("ollama_models", {"ollama_models_signature_keys": ["/k.pub"]}, "Give the text that begins with -----BEGIN"),
        ("ollama_models", {**PEERS, "ansible_host": "2001:db8::1"}, "set ollama_models_peers_listen to ::"),
        ("ollama_models", {**PEERS, "ollama_models_peers_addresses": ["[2001:db8::1]:99"]}, "which also accepts IPv4"),
        (
            "ollama_models",
            {**PEERS, "ollama_models_peers_pause_while_busy": True, "fleet_worker_metrics_listen": ""},
            "fleet_worker_metrics_listen is empty",
        ),
        ("fleet_worker", {"fleet_worker_name": "Fleet"}, "lower-case letter"),
        ("fleet_worker", {"fleet_worker_name": "ollama"}, "the unit of Ollama itself"),
        ("fleet_worker", {"fleet_worker_name": "fleet-worker-updates"}, 'nor end with "-updates"'),
        ("fleet_worker", {"fleet_worker_lanes": []}, "nothing to serve"),
        ("fleet_worker", {"fleet_worker_memory_max": "2 GB"}, "fleet_worker_memory_max"),
        ("fleet_worker", {"fleet_worker_updates_memory_max": "0"}, "fleet_worker_updates_memory_max"),
        ("fleet_worker", {"fleet_worker_updates_broadcast_policy": "warn"}, "no public key to check broadcasts with"),
        (
            "fleet_worker",
            {"fleet_worker_updates_broadcast_keys": ["a private key"]},
            "a private key stays with those who send broadcasts",
        ),
        ("fleet_worker", {"fleet_worker_lanes": [{"type": "speak", "model": "x"}]}, "(lanes.0.type) must be one of"),
        ("fleet_worker", {"fleet_worker_lanes": [{"type": "chat"}]}, "(lanes.0.model) is missing"),
        ("fleet_worker", {"fleet_worker_lanes": [{"type": "chat", "model": "x"}] * 2}, "is listed twice"),
        (
            "fleet_worker",
            {"fleet_worker_auto_lanes": True, "fleet_worker_auto_lanes_allow": []},
            "need at least one entry each",
        ),
        ("fleet_worker", {"fleet_worker_auto_lanes_styles": ["own"]}, "may have model, shared and offering"),
        (
            "fleet_worker",
            {"fleet_worker_auto_lanes": True, "fleet_worker_auto_lanes_settings": {"model": "x"}},
            "(auto_lanes.model) is not a known key",
        ),
        ("fleet_worker", {"fleet_worker_model_concurrency": {"a": 0}}, "(model_concurrency.a) must be 1 or more"),
        ("fleet_worker", {"fleet_worker_embed_batch_count": 0}, "fleet_worker_embed_batch_count must be"),
        ("fleet_worker", {"fleet_worker_embed_batch_bytes": 1}, "fleet_worker_embed_batch_bytes must be"),
        ("fleet_worker", {"fleet_worker_starvation": 0}, "fleet_worker_starvation must be"),
        ("fleet_worker", {"fleet_worker_exchanges": []}, "fleet_worker_exchanges is empty"),
        ("fleet_worker", {"fleet_worker_broker_addresses": []}, "at least one broker"),
        ("fleet_worker", {"fleet_worker_broker_addresses": ["amqp://hub"]}, "without scheme"),
        ("fleet_worker", {"fleet_worker_broker_password": ""}, "fleet_worker_broker_password is empty"),
        ("fleet_worker", {"fleet_worker_broker_ca_path": "/ca"}, "fleet_worker_broker_tls only"),
        ("fleet_worker", {"fleet_worker_broker_tls": True, "fleet_worker_broker_client_cert": "/c"}, "go together"),
        ("fleet_worker", {"fleet_worker_ollama_host": "127.0.0.1:11434"}, "must be a URL"),
        ("fleet_worker", {"fleet_worker_wheelhouse": "w", "fleet_worker_find_links": "f"}, "only one of"),
        ("fleet_worker", {"fleet_worker_root": "opt"}, "absolute paths"),
        ("fleet_worker", {"fleet_worker_release": "../x"}, "name of a release"),
        ("fleet_worker", {"fleet_worker_concurrency": 257}, "fleet_worker_concurrency must be 1 to 256, but is 257"),
        ("fleet_worker", {"fleet_worker_drain_timeout": "0"}, "fleet_worker_drain_timeout must be 1 to 86400"),
        ("fleet_worker", {"fleet_worker_metrics_listen": "9469"}, "fleet_worker_metrics_listen must be host:port"),
        ("fleet_worker", {"fleet_worker_registry_heartbeat": 0}, "fleet_worker_registry_heartbeat must be 1 to 3600"),
        ("fleet_worker", {"fleet_worker_watchdog": 5}, "fleet_worker_watchdog must be"),
    ],
)
def test_each_bad_value_is_named(evaluate: Any, role: str, options: dict[str, Any], message: str) -> None:
    problems = evaluate(role, f"__{role}_problems", **{**SOUND[role], **options})
    assert len(problems) == 1, problems
    assert message in problems[0]


@pytest.mark.parametrize("role", ["ollama_server", "fleet_worker"])
def test_another_init_system_is_refused(evaluate: Any, role: str) -> None:
    (problem,) = evaluate(role, f"__{role}_host_problems", facts={"service_mgr": "openrc"}, **SOUND[role])
    assert "supports systemd only" in problem


@pytest.mark.parametrize("role", SOUND)
def test_default_of_an_option_needs_no_facts(evaluate: Any, role: str) -> None:
    """Ansible validates the arguments of a role before the role can gather facts."""
    options = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    for name in options:
        evaluate(role, name, bare=True)


def test_architecture_without_an_official_release_is_refused(evaluate: Any) -> None:
    facts = {"architecture": "riscv64"}
    (problem,) = evaluate("ollama_server", "__ollama_server_host_problems", facts=facts, **SOUND["ollama_server"])
    assert "riscv64" in problem
