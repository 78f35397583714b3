# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A path in a variable that names no file is found before anything changes: the service could not start again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sound_values import SOUND

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "roles/ollama_server/files/missing_files.sh"

WORKER_TLS = {
    "fleet_worker_broker_ca_path": "/pki/ca.pem",
    "fleet_worker_broker_client_cert": "/pki/worker.pem",
    "fleet_worker_broker_client_key": "/pki/worker.key",
    "fleet_worker_updates_broker_client_cert": "/pki/updates.pem",
    "fleet_worker_updates_broker_client_key": "/pki/updates.key",
    "fleet_worker_updates_s3_ca_path": "/pki/s3.pem",
}


def test_paths_without_a_file_are_printed(tmp_path: Path) -> None:
    there, linked = tmp_path / "a b.pem", tmp_path / "link.pem"
    there.write_text("")
    linked.symlink_to(there)
    command = ["sh", str(SCRIPT), str(there), str(linked), str(tmp_path), str(tmp_path / "gone.pem")]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert printed == [str(tmp_path), str(tmp_path / "gone.pem")]
    assert subprocess.run(["sh", str(SCRIPT)], stdout=subprocess.PIPE, check=True).stdout == b""


@pytest.mark.parametrize(
    "role, options, files",
    [
        ("fleet_worker", {"fleet_worker_broker_tls": False, **WORKER_TLS}, []),
        (
            "fleet_worker",
            {"fleet_worker_broker_tls": True, **WORKER_TLS},
            ["/pki/ca.pem", "/pki/worker.pem", "/pki/worker.key"],
        ),
        (
            "fleet_worker",
            {"fleet_worker_broker_tls": True, "fleet_worker_updates": True, **WORKER_TLS},
            [
                "/pki/ca.pem",
                "/pki/worker.pem",
                "/pki/worker.key",
                "/pki/updates.pem",
                "/pki/updates.key",
                "/pki/s3.pem",
            ],
        ),
        ("fleet_gateway", {"fleet_gateway_tls_cert": "/c", "fleet_gateway_tls_key": "/k"}, ["/c", "/k"]),
        (
            "fleet_gateway",
            {
                "fleet_gateway_broker_tls": True,
                "fleet_gateway_broker_ca_path": "/ca",
                "fleet_gateway_broker_client_cert": "/c",
                "fleet_gateway_broker_client_key": "/k",
            },
            ["/ca", "/c", "/k"],
        ),
        ("ollama_models", {"ollama_models_s3_ca_path": "/s3", "ollama_models_peers_ca_path": "/ca"}, ["/s3"]),
        (
            "ollama_models",
            {
                "ollama_models_peers": True,
                "ollama_models_peers_ca_path": "/ca",
                "ollama_models_peers_cert": "/c",
                "ollama_models_peers_key": "/k",
            },
            ["/ca", "/c", "/k"],
        ),
    ],
)
def test_files_that_a_service_will_read_are_looked_for(
    evaluate: Any, role: str, options: dict[str, Any], files: list[str]
) -> None:
    assert evaluate(role, f"__{role}_named_files", **{**SOUND[role], **options}) == files


@pytest.mark.parametrize("role", ["fleet_worker", "fleet_gateway", "ollama_models"])
def test_preflight_looks_for_the_files(role: str) -> None:
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/preflight.yml").read_text())
    assert [task["name"] for task in tasks if f"__{role}_named_files" in str(task)] == [
        "Look for the files that the variables name"
    ]
    (refusal,) = (task for task in tasks if task["name"] == "Refuse paths of files that do not exist")
    assert refusal["ansible.builtin.assert"]["that"] == (
        f"__{role}_missing_files.stdout_lines | length == 0 or ansible_check_mode"
    )
