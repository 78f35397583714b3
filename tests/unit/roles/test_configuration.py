# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker accepts the configuration that the role writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.legionio.ollama.plugins.lookup.packed_tree import packed
from fleet_gateway.cli import main as gateway_main
from fleet_gateway.settings.config import DEFAULT_PATH as GATEWAY_PATH
from fleet_worker.cli import UPDATES_PATH, main
from fleet_worker.settings.config import DEFAULT_PATH
from fleet_worker.updates.config import MirrorConfig, PeersConfig, load, mirror_settings

FILES = Path(__file__).resolve().parents[3] / "roles/fleet_worker/files"
BASE: dict[str, Any] = {
    "fleet_worker_broker_addresses": ["hub:5672"],
    "fleet_worker_broker_password": "s3cret",
    "fleet_worker_lanes": [
        {"type": "chat", "model": "smollm2:135m"},
        {"type": "embed", "model": "all-minilm", "style": "shared"},
    ],
}
TLS = {
    "fleet_worker_broker_tls": True,
    "fleet_worker_broker_ca_path": "/ca.pem",
    "fleet_worker_broker_client_cert": "/cert.pem",
    "fleet_worker_broker_client_key": "/key.pem",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release as the role installs it: real files, and a link to an environment; to be read only."""
    folder = tmp_path_factory.mktemp("installed")
    root = folder / "releases/1"
    with tarfile.open(packed(FILES, folder)["archive"]) as archive:
        archive.extractall(root)  # noqa: S202 - our own archive
    (root / "venv").symlink_to(sys.prefix)
    return root


@pytest.mark.parametrize(
    "options",
    [
        {},
        TLS,
        {**TLS, "fleet_worker_broker_password": ""},
        {"fleet_worker_metrics_listen": "", "fleet_worker_registry": False},
        {"fleet_worker_metrics_listen": "[::]:9469", "fleet_worker_own_lanes": True},
        {
            "fleet_worker_lanes": [],
            "fleet_worker_auto_lanes": True,
            "fleet_worker_auto_lanes_deny": ["*:70b"],
            "fleet_worker_auto_lanes_styles": ["model", "shared"],
            "fleet_worker_auto_lanes_settings": {"deadline": 120, "consumer_priority": 10},
            "fleet_worker_model_concurrency": {"llama3:70b": 1},
        },
        {"fleet_worker_name": "gpu1", "fleet_worker_config": {"ollama": {"patience": 5}}},
    ],
)
def test_configuration_of_the_role_is_accepted(
    render: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(render("fleet_worker", "fleet-worker.yml.j2", **{**BASE, **options}))
    assert main(["check-config", "--config", str(config)]) == 0, capsys.readouterr().out
    assert "s3cret" not in config.read_text()


def test_an_installed_release_accepts_what_the_role_writes(render: Any, release: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(render("fleet_worker", "fleet-worker.yml.j2", **BASE))
    command = [str(release / "bin/fleet-worker"), "check-config", "--config", str(config)]
    checked = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert checked.returncode == 0, checked.stdout


def test_free_settings_win_and_leave_their_neighbours(render: Any) -> None:
    text = render("fleet_worker", "fleet-worker.yml.j2", **BASE, fleet_worker_config={"ollama": {"patience": 5}})
    ollama = yaml.safe_load(text)["ollama"]
    assert (ollama["patience"], ollama["host"]) == (5, "http://127.0.0.1:11434")


def test_every_setting_of_the_mirror_has_a_variable_of_the_updates(render: Any) -> None:
    text = render("fleet_worker", "fleet-updates.yml.j2", **BASE, fleet_worker_updates=True)
    written = yaml.safe_load(text)["mirror"]
    fields = MirrorConfig.model_fields
    assert set(written) == {field.alias or name for name, field in fields.items()}


def test_authority_of_a_mirror_reaches_the_updates(render: Any, tmp_path: Path) -> None:
    config = tmp_path / "updates.yml"
    options = {
        "fleet_worker_updates": True,
        "fleet_worker_updates_s3_bucket": "b",
        "fleet_worker_updates_models": ["*"],
    }
    private = {"fleet_worker_updates_s3_ca_path": "/ca.pem", "fleet_worker_updates_s3_addressing_style": "path"}
    password = {"fleet_worker_updates_broker_password": "s3cret"}
    config.write_text(render("fleet_worker", "fleet-updates.yml.j2", **BASE, **options, **private, **password))
    settings = mirror_settings(load(str(config)))
    assert (settings.ca_path, settings.validate_certs, settings.addressing_style) == ("/ca.pem", True, "path")


#: What an inventory says of the peers for the role ollama_models.
PEERS: dict[str, Any] = {
    "ollama_models_peers": True,
    "ollama_models_peers_secret": "0123456789abcdef" * 2,
    "ollama_models_peers_hosts": ["gpu-01", "gpu-02", "gpu-03"],
    "hostvars": {"gpu-01": {"ansible_host": "192.0.2.1"}, "gpu-02": {"ansible_host": "2001:db8::2"}, "gpu-03": {}},
}


def test_commands_read_the_files_that_the_roles_write(evaluate: Any) -> None:
    assert evaluate("fleet_worker", "__fleet_worker_config_path") == DEFAULT_PATH
    assert evaluate("fleet_worker", "__fleet_worker_updates_config_path") == UPDATES_PATH
    assert evaluate("fleet_gateway", "__fleet_gateway_config_path") == GATEWAY_PATH


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize("program", [main, gateway_main])
def test_command_with_a_wrong_configuration_has_the_exit_status_of_the_documents(
    program: Any, command: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yml").write_text("broker: 1")
    assert program([command, "--config", str(tmp_path / "config.yml")]) == 78


def test_peers_of_the_models_are_those_of_the_updates(evaluate: Any) -> None:
    here = evaluate("fleet_worker", "fleet_worker_updates_peers", **PEERS)
    assert here == ["192.0.2.1:11480", "[2001:db8::2]:11480", "gpu-03:11480"]
    assert here == evaluate("ollama_models", "__ollama_models_peers_addresses", **PEERS)
    addresses = {"ollama_models_peers_addresses": ["a:1", "b"]}
    assert evaluate("fleet_worker", "fleet_worker_updates_peers", **PEERS, **addresses) == ["a:1", "b"]
    group = {**PEERS, "groups": {"fleet": ["gpu-03"]}}
    del group["ollama_models_peers_hosts"]
    assert evaluate("fleet_worker", "fleet_worker_updates_peers", **group) == ["gpu-03:11480"]


@pytest.mark.parametrize("options", [{"ollama_models_peers": False}, {"fleet_worker_updates_peers": []}])
def test_updates_without_peers_read_the_mirror_alone(render: Any, options: dict[str, Any]) -> None:
    written = yaml.safe_load(render("fleet_worker", "fleet-updates.yml.j2", **{**BASE, **PEERS, **options}))
    assert written["peers"] is None


def test_every_setting_of_the_peers_reaches_the_updates(render: Any, tmp_path: Path) -> None:
    files = {f"ollama_models_peers_{name}": f"/etc/tls/{name}" for name in ("ca_path", "cert", "key")}
    options = {**BASE, **PEERS, **files, "ollama_models_peers_max_download_bandwidth": "20M"}
    written = yaml.safe_load(render("fleet_worker", "fleet-updates.yml.j2", **options))["peers"]
    assert set(written) == set(PeersConfig.model_fields)
    assert (written["max_bandwidth"], written["ca_path"]) == (20 * 1024 * 1024, "/etc/tls/ca_path")
    assert written["client_cert"] == "/run/credentials/fleet-worker-updates.service/peers-cert"
    tree = {"__fleet_worker_tree": {"digest": "0123456789abcdef"}, "__fleet_worker_interpreter": {"stdout": "x"}}
    lines = render("fleet_worker", "fleet-updates.service.j2", **options, **tree).splitlines()
    assert {
        "LoadCredential=peers-secret:/etc/legionio/credentials/fleet-worker-updates/peers-secret",
        "LoadCredential=peers-cert:/etc/tls/cert",
        "LoadCredential=peers-key:/etc/tls/key",
    } <= set(lines)


@pytest.mark.parametrize("updates, shared", [(True, ["a:1", "llama3*"]), (False, ["a:1"])])
def test_node_shares_the_models_that_broadcasts_bring(evaluate: Any, updates: bool, shared: list[str]) -> None:
    options = {"fleet_worker_updates": updates, "fleet_worker_updates_models": ["llama3*"]}
    assert evaluate("ollama_models", "ollama_models_peers_models", ollama_models_names=["a:1"], **options) == shared


def test_the_launcher_uses_its_own_release_through_any_link(release: Path, tmp_path: Path) -> None:
    decoy = tmp_path / "decoy/fleet_worker"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    installed = release.parents[1]
    (installed / "current").symlink_to("releases/1")
    (installed / "command").symlink_to("current/bin/fleet-worker")
    shown = subprocess.run(
        [str(installed / "command"), "version"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=decoy.parent,
        env={**os.environ, "PYTHONPATH": str(decoy.parent)},
    )
    assert (shown.returncode, shown.stdout.strip()) == (0, "1.0.0")


@pytest.mark.parametrize(
    "options, is_needed",
    [
        ({}, False),
        ({"fleet_worker_updates_broadcast_keys": ["x"]}, True),
        ({"fleet_worker_updates_signature_policy": "warn"}, True),
    ],
)
def test_cryptography_is_installed_where_signatures_are_checked(
    evaluate: Any, options: dict[str, Any], is_needed: bool
) -> None:
    path = Path(evaluate("fleet_worker", "__fleet_worker_requirements", fleet_worker_updates=True, **options))
    assert ("cryptography==" in path.read_text()) == is_needed


@pytest.mark.parametrize(
    "unknown, options, demands",
    [
        (["broadcasts", "peers.max_bandwidth"], {"fleet_worker_updates_broadcast_keys": ["x"]}, ["broadcasts"]),
        (["signatures.rules"], {"fleet_worker_updates_signature_policy": "warn"}, ["signatures.rules"]),
        (["broadcasts", "signatures"], {}, []),
        (["peers"], {"fleet_worker_updates_broadcast_keys": ["x"]}, []),
    ],
)
def test_release_that_knows_no_signatures_is_refused_where_they_are_demanded(
    evaluate: Any, unknown: list[str], options: dict[str, Any], demands: list[str]
) -> None:
    keys = {"__fleet_worker_unknown_keys": {"worker": ["broadcasts"], "updates": unknown}}
    found = evaluate("fleet_worker", "__fleet_worker_unknown_demands", fleet_worker_updates=True, **options, **keys)
    assert found == demands


@pytest.mark.parametrize("decrypt, name", [(False, "requirements.txt"), (True, "requirements-encryption.txt")])
def test_cryptography_is_installed_where_requests_are_decrypted(evaluate: Any, decrypt: bool, name: str) -> None:
    path = Path(evaluate("fleet_worker", "__fleet_worker_requirements", fleet_worker_decrypt=decrypt))
    assert path.name == name
    assert ("cryptography==" in path.read_text()) == decrypt
    assert "pyjwt==" in path.read_text()
