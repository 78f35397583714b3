# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One name for one thing, over modules and roles: the rules of the table in docs/consistency.md that can be checked."""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.legionio.ollama.plugins.module_utils._module import groups

ROOT = Path(__file__).resolve().parents[3]
PREFIX = "ansible_collections.legionio.ollama.plugins.modules"
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))

#: Options of the mirror whose names do not mention S3, but for ``prefix``, since names of other variables end so, too.
MIRROR = frozenset(name for name in groups.S3.argument_spec if not name.startswith("s3_")) - {"prefix"}
#: What these options are called where one of a pair is not spelled as the others.
INSTEAD = {
    "cacert": "ca_path",
    "ca_cert": "ca_path",
    "tls_verify": "validate_certs",
    "verify_ssl": "validate_certs",
    "user": "username",
    "pass": "password",
    "url_password": "password",
    "ssl": "tls",
}


def documentation(module: str, part: str) -> dict[str, Any]:
    loaded = importlib.import_module(f"{PREFIX}.{module}")
    return dict(yaml.safe_load(getattr(loaded, part)) or {})


def variables() -> dict[str, list[str]]:
    """The variables of each role, without the role's name."""
    found = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        role = path.parent.parent.name
        options = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
        found[role] = [name[len(role) + 1 :] for name in options]
    return found


def without_code(returns: Mapping[str, Any]) -> str:
    """What is wrong with the documented code of a module's failures; empty when nothing is."""
    entry = returns.get("error_code", {})
    return "" if (entry.get("returned"), entry.get("type")) == ("failure", "str") else "error_code is not documented"


def model_spelled_once(options: Mapping[str, Any]) -> list[str]:
    """Options with a model that only one of the names ``name`` and ``model`` reaches."""
    return [
        name
        for name, option in options.items()
        if name in ("name", "model") and not {"name", "model"} <= {name, *option.get("aliases", [])}
    ]


def misnamed(names: Collection[str], mirror: Collection[str] = MIRROR) -> list[str]:
    """Variables of a role that the other roles call otherwise."""
    found = []
    for name in names:
        ending = next((end for end in mirror if re.search(rf"(^|_){end}$", name)), "")
        if ending and not re.search(rf"(^|_)s3_{ending}$", name):
            found.append(f"{name}: s3_{ending}")
        found += [f"{name}: {right}" for wrong, right in INSTEAD.items() if re.search(rf"broker_{wrong}$", name)]
    return found


#: Variables of an installed service that a role lacks; the page has the reasons.
ABSENT: dict[str, set[str]] = {
    "fleet_worker": set(),
    "fleet_gateway": {"release"},
    "ollama_server": {"memory_max", "config", "log_format", "log_level"},
}


def test_each_installed_service_has_the_variables_of_the_table_but_for_the_named_ones() -> None:
    page = (ROOT / "docs/consistency.md").read_text()
    (row,) = re.findall(r"^\| an installed service \|(.*)\|(.*)\|$", page, re.MULTILINE)
    common = set(re.findall(r"`(\w+)`", row[0]))
    found = variables()
    assert {role: common - set(found[role]) for role in ABSENT} == ABSENT
    assert [name for names in ABSENT.values() for name in names if f"`{name}`" not in row[1]] == []


def test_each_module_documents_the_code_of_its_failures() -> None:
    assert {module: without_code(documentation(module, "RETURN")) for module in MODULES} == dict.fromkeys(MODULES, "")


def test_a_model_is_name_or_model_in_every_module() -> None:
    offences = {module: model_spelled_once(documentation(module, "DOCUMENTATION")["options"]) for module in MODULES}
    assert {module: names for module, names in offences.items() if names} == {}


def test_the_same_settings_have_the_same_names_in_all_roles() -> None:
    assert {role: misnamed(names) for role, names in variables().items()} == {role: [] for role in variables()}


def test_offences_are_found() -> None:
    assert without_code({}) and without_code({"error_code": {"returned": "always", "type": "str"}})
    assert model_spelled_once({"name": {"aliases": ["names"]}, "models": {}}) == ["name"]
    assert model_spelled_once({"model": {"aliases": ["name"]}}) == []
    assert misnamed(["updates_bucket", "s3_bucket", "x_s3_region", "broker_user", "broker_username"]) == [
        "updates_bucket: s3_bucket",
        "broker_user: username",
    ]
