# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebook passes the variables of the broker to the event source."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

EDA = Path(__file__).resolve().parents[4] / "extensions/eda"
SOURCE = spec_from_file_location("fleet_events", EDA / "plugins/event_source/fleet_events.py")
LOGIN = {"broker_username": "observer", "broker_password": "s3cret"}


@pytest.mark.parametrize(
    "variables",
    [
        LOGIN,
        LOGIN | {"broker_port": 5671, "broker_vhost": "fleet", "broker_ca_path": "/ca.pem"},
        {"broker_tls": True, "broker_validate_certs": False, "broker_client_cert": "c.pem", "broker_client_key": "k"},
    ],
)
def test_rulebook_passes_the_options_that_are_set(variables: dict[str, Any]) -> None:
    assert SOURCE is not None and SOURCE.loader is not None
    source = module_from_spec(SOURCE)
    SOURCE.loader.exec_module(source)
    (rules,) = yaml.safe_load((EDA / "rulebooks/heal_fleet.yml").read_text())
    variables = {"broker_host": ["hub-1", "hub-2"], **variables}
    # As ansible-rulebook evaluates the arguments of a source (ansible_rulebook.util.render_string).
    environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
    given = {
        name: environment.from_string(text).render(variables)
        for name, text in rules["sources"][0]["legionio.ollama.fleet_events"].items()
    }
    assert source.arguments(given) == source.arguments(variables)
