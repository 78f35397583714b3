# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the schemas of the worker's configurations, by which the role judges them where no worker is installed yet.

usage: tests/tools/in-stage.sh python tests/tools/config_schemas.py > roles/fleet_worker/meta/config_schemas.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: What only readers of a schema need.
COMMENTS = ("title", "description", "default")


def schemas() -> dict[str, Any]:
    """Return the schema of each configuration, by its name."""
    sys.path.insert(0, str(ROOT / "roles/fleet_worker/files"))
    kinds = {
        "worker": importlib.import_module("fleet_worker.settings.config").Config,
        "updates": importlib.import_module("fleet_worker.updates.config").UpdatesConfig,
    }
    return {name: bare(kind.model_json_schema()) for name, kind in kinds.items()}


def bare(node: Any, *, is_named: bool = False) -> Any:
    """Return a schema without comments.

    :param is_named: whether the keys are names of properties, which may be called like a comment.
    """
    if isinstance(node, list):
        return [bare(one) for one in node]
    if isinstance(node, dict):
        return {
            key: bare(one, is_named=not is_named and key in ("properties", "$defs"))
            for key, one in node.items()
            if is_named or key not in COMMENTS
        }
    return node


def text() -> str:
    """Return what the file holds."""
    return json.dumps(schemas(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(), end="")
