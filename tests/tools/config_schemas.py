# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the schemas of a daemon's files, by which its role judges them where no daemon is installed yet.

usage: tests/tools/in-stage.sh python tests/tools/config_schemas.py ROLE > roles/ROLE/meta/config_schemas.json

ROLE is fleet_worker or fleet_gateway.
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


#: The files of each role: their names, and where the classes are.
KINDS = {
    "fleet_worker": {
        "worker": ("fleet_worker.settings.config", "Config"),
        "updates": ("fleet_worker.updates.config", "UpdatesConfig"),
    },
    "fleet_gateway": {
        "gateway": ("fleet_gateway.settings.config", "Config"),
        "keys": ("fleet_gateway.settings.keys", "KeysFile"),
    },
}


def schemas(role: str) -> dict[str, Any]:
    """Return the schema of each file of a role, by its name."""
    sys.path.insert(0, str(ROOT / "roles" / role / "files"))
    return {
        name: bare(getattr(importlib.import_module(module), kind).model_json_schema())
        for name, (module, kind) in KINDS[role].items()
    }


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


def text(role: str) -> str:
    """Return what the file of a role holds."""
    return json.dumps(schemas(role), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(sys.argv[1]), end="")
