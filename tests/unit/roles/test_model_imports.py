# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the role ollama_models that import models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[3]
MODULE = "legionio.ollama.ollama_s3_import"


def test_import_of_single_models_has_every_option_of_the_import_of_all() -> None:
    tasks = yaml.safe_load((ROOT / "roles/ollama_models/tasks/import.yml").read_text())
    of_all, of_each = [task[MODULE] for task in tasks if MODULE in task and "delegate_to" not in task]
    # Nothing is pruned while one of the models cannot be planned.
    assert of_each == {**of_all, "models": ["{{ item }}"], "prune": False}


@pytest.mark.parametrize("policy, names", [("off", "boto3"), ("enforce", "boto3,cryptography")])
def test_check_mode_plans_on_a_node_that_has_every_package(evaluate: Any, policy: str, names: str) -> None:
    modules = evaluate("ollama_models", "__ollama_models_python_modules", ollama_models_signature_policy=policy)
    assert ",".join(modules) == names


@pytest.mark.parametrize(
    "result, fails",
    [
        ({"models": []}, False),
        ({"failed": True, "error_code": "mirror_unreachable"}, False),
        ({"failed": True, "error_code": "missing_dependency"}, False),
        ({"failed": True, "module_stderr": "no interpreter"}, False),
        ({"failed": True, "error_code": "model_missing"}, True),
        ({"failed": True, "error_code": "mirror_incomplete"}, True),
        ({"failed": True, "error_code": "signing_key"}, True),
        ({"failed": True, "msg": "parameters are mutually exclusive: profile|access_key"}, True),
    ],
)
def test_plan_on_the_controller_fails_where_a_run_would(evaluate: Any, result: dict[str, Any], fails: bool) -> None:
    tasks = yaml.safe_load((ROOT / "roles/ollama_models/tasks/import.yml").read_text())
    (plan,) = (task for task in tasks if task.get("delegate_to") == "localhost")
    condition = trust_as_template("{{ " + plan["failed_when"] + " }}")
    known = {"__ollama_models_prediction": {"changed": False, **result}, "fails": condition}
    assert evaluate("ollama_models", "fails", **known) is fails


@pytest.mark.parametrize("modules, found", [("json", True), ("json,no_such_module", False)])
def test_check_of_the_packages_needs_all_of_them(modules: str, found: bool) -> None:
    check, *_others = yaml.safe_load((ROOT / "roles/ollama_models/tasks/import.yml").read_text())
    script = check["ansible.builtin.command"]["argv"][2]
    run = subprocess.run(
        [sys.executable, "-c", script, "nobody", "nogroup", modules], capture_output=True, text=True, check=True
    )
    assert ("packages" in run.stdout.splitlines()) == found
