# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the role ollama_models that import models."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
MODULE = "legionio.ollama.ollama_s3_import"


def test_import_of_single_models_has_every_option_of_the_import_of_all() -> None:
    tasks = yaml.safe_load((ROOT / "roles/ollama_models/tasks/import.yml").read_text())
    of_all, of_each = [task[MODULE] for task in tasks if MODULE in task and "delegate_to" not in task]
    # Nothing is pruned while one of the models cannot be planned.
    assert of_each == {**of_all, "models": ["{{ item }}"], "prune": False}
