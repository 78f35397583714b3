# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units, as systemd itself judges them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKER = {
    "fleet_worker_broker_password": "secret",
    "fleet_worker_drain_timeout": 600,
    # What the tasks find out.
    "__fleet_worker_tree": {"digest": "0123456789abcdef"},
    "__fleet_worker_interpreter": {"stdout": "cp311-x86_64"},
}


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    """Ask systemd how exposed a unit is; it fails above 2.0 (systemd counts in tenths)."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("options", [{}, {"fleet_worker_user": "worker"}])
def test_the_worker_is_hardly_exposed(render: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    unit = tmp_path / "judged.service"
    unit.write_text(render("fleet_worker", "fleet-worker.service.j2", **WORKER, **options))
    judged = exposure(unit)
    assert judged.returncode == 0, judged.stdout


UPDATES = {
    **WORKER,
    "fleet_worker_updates": True,
    "fleet_worker_updates_broker_password": "hidden",
    "fleet_worker_updates_s3_access_key": "AKIA",
    "fleet_worker_updates_s3_secret_key": "hidden",
}


def test_the_updates_are_hardly_exposed_and_write_to_the_store_alone(render: Any, tmp_path: Path) -> None:
    text = render("fleet_worker", "fleet-updates.service.j2", **UPDATES)
    unit = tmp_path / "judged.service"
    unit.write_text(text)
    judged = exposure(unit)
    assert judged.returncode == 0, judged.stdout
    lines = text.splitlines()
    assert {"User=ollama", "ProtectSystem=strict", "ReadWritePaths=/var/lib/ollama/models"} <= set(lines)
    assert [line for line in lines if line.startswith("LoadCredential=")] == [
        f"LoadCredential={name}:/etc/legionio/credentials/fleet-worker-updates/{name}"
        for name in ("broker-password", "s3-access-key", "s3-secret-key")
    ]
    assert not any("hidden" in line or "AKIA" in line for line in lines)


@pytest.mark.parametrize(
    "unit, config, prefix",
    [
        ("fleet-worker.service.j2", "fleet-worker.yml.j2", "fleet_worker_broker"),
        ("fleet-updates.service.j2", "fleet-updates.yml.j2", "fleet_worker_updates_broker"),
    ],
)
def test_certificate_and_key_of_a_unit_change_together(render: Any, unit: str, config: str, prefix: str) -> None:
    """A worker that connects again has the old pair until its next start, not the new certificate with the old key."""
    files = {f"{prefix}_client_cert": "/etc/tls/worker.pem", f"{prefix}_client_key": "/etc/tls/worker.key"}
    options = {**UPDATES, **files, "fleet_worker_broker_tls": True}
    lines = render("fleet_worker", unit, **options).splitlines()
    assert {
        "LoadCredential=broker-client-cert:/etc/tls/worker.pem",
        "LoadCredential=broker-client-key:/etc/tls/worker.key",
    } <= set(lines)
    name = next(line.partition("=")[2] for line in lines if line.startswith("SyslogIdentifier="))
    tls = yaml.safe_load(render("fleet_worker", config, **options))["broker"]["tls"]
    assert tls["client_cert"] == f"/run/credentials/{name}.service/broker-client-cert"


def test_the_threshold_bites(render: Any, tmp_path: Path) -> None:
    text = render("fleet_worker", "fleet-worker.service.j2", **WORKER)
    unit = tmp_path / "judged.service"
    unit.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("Protect", "SystemCall"))))
    assert exposure(unit).returncode != 0


def test_a_stop_outlasts_the_drain_and_the_password_is_a_credential(render: Any) -> None:
    lines = render("fleet_worker", "fleet-worker.service.j2", **WORKER).splitlines()
    assert "TimeoutStopSec=630" in lines
    assert "LoadCredential=broker-password:/etc/legionio/credentials/fleet-worker/broker-password" in lines
    assert {"Type=notify", "WatchdogSec=60", "DynamicUser=yes", "KillMode=mixed"} <= set(lines)
    assert not any("secret" in line for line in lines)


@pytest.mark.parametrize(
    "template, variable",
    [
        ("fleet-worker.service.j2", "fleet_worker_memory_max"),
        ("fleet-updates.service.j2", "fleet_worker_updates_memory_max"),
    ],
)
def test_unit_has_a_limit_of_memory_unless_it_is_empty(render: Any, template: str, variable: str) -> None:
    def limits(**options: Any) -> list[str]:
        lines = render("fleet_worker", template, **UPDATES, **options).splitlines()
        return [line for line in lines if line.startswith("MemoryMax=")]

    assert limits() == ["MemoryMax=2G"]
    assert limits(**{variable: "10%"}) == ["MemoryMax=10%"]
    assert limits(**{variable: 536870912}) == ["MemoryMax=536870912"]
    assert limits(**{variable: ""}) == []


def test_another_release_is_another_unit_since_instances_share_the_link(render: Any) -> None:
    def release(**options: Any) -> str:
        (line,) = [
            line
            for line in render("fleet_worker", "fleet-worker.service.j2", **{**WORKER, **options}).splitlines()
            if line.startswith("X-Release=")
        ]
        return str(line)

    assert release().startswith("X-Release=1.0.0-0123456789 cp311-x86_64-")
    assert release(__fleet_worker_interpreter={"stdout": "cp313-x86_64"}) != release()
    assert release(fleet_worker_release="0.9.0-abc") == "X-Release=0.9.0-abc"


def test_a_second_instance_shares_nothing_but_the_release(render: Any) -> None:
    text = render(
        "fleet_worker", "fleet-worker.service.j2", **WORKER, fleet_worker_name="gpu1", fleet_worker_user="worker"
    )
    lines = text.splitlines()
    assert "ExecStart=/opt/legionio/fleet-worker/current/bin/fleet-worker run --config /etc/legionio/gpu1.yml" in lines
    assert {"User=worker", "RuntimeDirectory=gpu1"} <= set(lines)
    assert "DynamicUser=yes" not in lines


def test_ollama_keeps_its_devices_and_reaches_models_in_a_home(render: Any) -> None:
    lines = render("ollama_server", "ollama.service.j2", ollama_server_models_path="/home/models").splitlines()
    assert "ProtectHome=no" in lines
    assert "ReadWritePaths=/var/lib/ollama /home/models" in lines
    assert "RequiresMountsFor=/home/models /var/lib/ollama" in lines
    assert not any(
        line.startswith(("PrivateDevices", "DevicePolicy", "MemoryDenyWriteExecute", "ProcSubset")) for line in lines
    )
    assert "ProtectHome=yes" in render("ollama_server", "ollama.service.j2").splitlines()


def test_values_of_the_environment_reach_ollama_as_they_are(render: Any) -> None:
    value = 'a "b" $HOME `id` back\\slash 100%'
    text = render("ollama_server", "server.env.j2", ollama_server_environment={"TRICKY": value})
    (line,) = [line for line in text.splitlines() if line.startswith("TRICKY=")]
    # Double quotes and backslashes mean the same to a shell and to systemd's environment files.
    shown = subprocess.run(["sh", "-c", f'{line}; printf %s "$TRICKY"'], stdout=subprocess.PIPE, text=True, check=True)
    assert shown.stdout == value


def test_the_blob_server_is_hardly_exposed_and_writes_nothing(render: Any, tmp_path: Path) -> None:
    more = {"ollama_models_peers_secret": "hidden" * 6, "__ollama_models_peers_tree": {"digest": "0123456789abcdef"}}
    text = render("ollama_models", "ollama-blobs.service.j2", ollama_models_peers=True, **more)
    unit = tmp_path / "judged.service"
    unit.write_text(text)
    judged = exposure(unit)
    assert judged.returncode == 0, judged.stdout
    lines = text.splitlines()
    assert {"User=ollama", "ProtectSystem=strict", "CapabilityBoundingSet="} <= set(lines)
    assert not any(line.startswith("ReadWritePaths") for line in lines)
    assert "hidden" not in text


def test_updates_keep_a_record_of_their_own_where_broadcasts_must_be_signed(render: Any, tmp_path: Path) -> None:
    assert "StateDirectory=" not in render("fleet_worker", "fleet-updates.service.j2", **UPDATES)
    key = {"fleet_worker_updates_broadcast_keys": ["-----BEGIN PUBLIC KEY-----"]}
    text = render("fleet_worker", "fleet-updates.service.j2", **UPDATES, **key)
    unit = tmp_path / "judged.service"
    unit.write_text(text)
    judged = exposure(unit)
    assert judged.returncode == 0, judged.stdout
    assert {"StateDirectory=fleet-worker-updates", "StateDirectoryMode=0700"} <= set(text.splitlines())
    config = yaml.safe_load(render("fleet_worker", "fleet-updates.yml.j2", **UPDATES, **key))
    assert config["broadcasts"]["record"] == "/var/lib/fleet-worker-updates/broadcasts.json"
