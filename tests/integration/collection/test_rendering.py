# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates of the roles, rendered by these tests in their own process, are what the template module writes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from sound_values import FACTS, SOUND

ROLES = Path(__file__).resolve().parents[3] / "roles"
#: What the templates need beside the defaults, with values that are hard to quote.
OPTIONS: dict[str, dict[str, Any]] = {
    **SOUND,
    "fleet_worker": {
        **SOUND["fleet_worker"],
        "fleet_worker_config": {"ollama": {"patience": 5}},
        "fleet_worker_updates": True,
        "fleet_worker_updates_models": ["llama3*"],
        "fleet_worker_updates_s3_bucket": "models",
        "fleet_worker_updates_broker_password": "hidden",
        "fleet_worker_overrides": {"Service": {"Nice": "5"}},
        "__fleet_worker_tree": {"digest": "0123456789abcdef"},
        "__fleet_worker_interpreter": {"stdout": "cp311-x86_64"},
    },
    "fleet_gateway": {
        **SOUND["fleet_gateway"],
        "fleet_gateway_broker_username": "gateway",
        "fleet_gateway_broker_password": "hidden",
        "__fleet_gateway_tree": {"digest": "0123456789abcdef"},
        "__fleet_gateway_interpreter": {"stdout": "cp311-x86_64"},
        "__fleet_worker_tree": {"digest": "0123456789abcdef"},
        "__fleet_worker_interpreter": {"stdout": "cp311-x86_64"},
    },
    "ollama_models": {
        **SOUND["ollama_models"],
        "ollama_models_peers_key": "/etc/ssl/node.key",
        "ollama_models_peers_unit_overrides": {"Service": {"Nice": "5"}},
        "__ollama_models_peers_tree": {"digest": "0123456789abcdef"},
    },
    "ollama_server": {"ollama_server_environment": {"TRICKY": 'a "b" $HOME `id` back\\slash 100%'}},
}


def test_render_template_writes_what_the_template_module_writes(render: Any, tmp_path: Path) -> None:
    plays = []
    templates = sorted(ROLES.glob("*/templates/*.j2"))
    for template in templates:
        role = template.parts[-3]
        variables: dict[str, Any] = {"ansible_facts": FACTS, "role_path": str(ROLES / role), **OPTIONS[role]}
        task = {"ansible.builtin.template": {"src": str(template), "dest": str(tmp_path / template.stem)}}
        files = [str(ROLES / role / part / "main.yml") for part in ("defaults", "vars")]
        plays.append(
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": False,
                "vars_files": files,
                "tasks": [{**task, "vars": variables}],
            }
        )
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    done = subprocess.run(
        ["ansible-playbook", str(tmp_path / "play.yml")],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    for template in templates:
        role = template.parts[-3]
        written = (tmp_path / template.stem).read_text()
        assert render(role, template.name, **OPTIONS[role]).splitlines() == written.splitlines()


#: For each file of settings, a variable whose value is encrypted alone, and not with its whole file.
ENCRYPTED = {
    "fleet-worker.yml": "fleet_worker_broker_username: {value}",
    "fleet-updates.yml": "fleet_worker_updates_s3_bucket: {value}",
    "fleet-gateway.yml": "fleet_gateway_broker_username: {value}",
    "fleet-gateway-keys.yml": "fleet_gateway_keys:\n  - name: alice\n    hash: {value}",
}


def test_render_value_that_is_encrypted_alone_is_written_in_clear(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("a-password")
    given = ["--vault-password-file", str(password)]
    command = ["ansible-vault", "encrypt_string", *given, "the-clear-value"]
    value = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plays = []
    for name, variable in ENCRYPTED.items():
        (template,) = ROLES.glob(f"*/templates/{name}.j2")
        role = template.parts[-3]
        # In this order, because a later file has precedence.
        options = tmp_path / f"options-{name}"
        options.write_text(yaml.safe_dump({key: one for key, one in OPTIONS[role].items() if key not in variable}))
        (tmp_path / f"encrypted-{name}").write_text(variable.format(value=value))
        files = [str(ROLES / role / part / "main.yml") for part in ("defaults", "vars")]
        task = {"ansible.builtin.template": {"src": str(template), "dest": str(tmp_path / name)}}
        plays.append(
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": False,
                "vars": {"ansible_facts": FACTS, "role_path": str(ROLES / role)},
                "vars_files": [*files, str(options), str(tmp_path / f"encrypted-{name}")],
                "tasks": [task],
            }
        )
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    command = ["ansible-playbook", *given, str(tmp_path / "play.yml")]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    for name in ENCRYPTED:
        written = (tmp_path / name).read_text()
        assert "the-clear-value" in written and "vault" not in written, written
