# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/configuration.md has each key of the services' files that no variable of a role sets, with its default."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_gateway.settings.config
import fleet_worker.settings.config
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sound_values import SOUND

PAGE = (Path(__file__).resolve().parents[3] / "docs/configuration.md").read_text()

#: A service, its whole configuration, and the options that make its role write the parts that are optional.
SERVICES: list[tuple[str, type[BaseModel], str, dict[str, Any]]] = [
    (
        "fleet_worker",
        fleet_worker.settings.config.Config,
        "__fleet_worker_full_config",
        {
            "fleet_worker_broker_tls": True,
            "fleet_worker_node": "n",
            "fleet_worker_ollama_headers": {"A": "b"},
            "fleet_worker_auto_lanes": True,
        },
    ),
    (
        "fleet_gateway",
        fleet_gateway.settings.config.Config,
        "__fleet_gateway_config",
        {"fleet_gateway_broker_tls": True, "fleet_gateway_node": "n", "fleet_gateway_tls_cert": "/cert"},
    ),
]

#: Keys with the names of credentials, which the role creates under the names that are the defaults.
CREDENTIALS = re.compile(r".*_credential$")

#: A section that `fleet_worker_auto_lanes_settings` fills.
SETTINGS = "auto_lanes."


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key of a configuration, and of its sections, with its default."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        alternatives = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Union else ()
        inner = [kind for kind in (field.annotation, *alternatives) if is_section(kind)]
        if inner:
            yield from leaves(inner[0], f"{key}.")
        else:
            default = field.default if field.default_factory is None else PydanticUndefined
            yield key, default


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


@pytest.mark.parametrize("role, model, variable, options", SERVICES, ids=[role for role, *_rest in SERVICES])
def test_page_has_each_key_without_a_variable(
    role: str, model: type[BaseModel], variable: str, options: dict[str, Any], evaluate: Any
) -> None:
    config = evaluate(role, variable, **{**SOUND[role], **options})
    wanted = {
        key: json.dumps(default)
        for key, default in leaves(model)
        if not has(config, key) and not CREDENTIALS.fullmatch(key) and not key.startswith(SETTINGS)
    }
    section = PAGE.partition(f"`{role}_config`")[2].partition("\n## ")[0]
    assert len(wanted) > 5
    assert dict(re.findall(r"^\| `([a-z_.0-9]+)` \| `([^`]+)` \|", section, re.MULTILINE)) == wanted
