# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a broker has is compared with what it should have; what differs, and nothing else, is to be imported."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.filter.broker_changes import broker_changes

WANTED: dict[str, Any] = {
    "vhost": "/fleet",
    "users": {"worker": {"password": "s3cret", "configure": "^a$", "write": "^b$", "read": "^c$"}},
    "exchanges": {"llm.request": "topic"},
    "queues": {"dlx.queue": "classic"},
    "bindings": [{"source": "llm.request", "destination": "dlx.queue", "routing_key": "#"}],
    "policies": {"lanes": {"pattern": "^llm", "definition": {"max-length": 1000}}},
    "absent_users": ["guest"],
}


def after(current: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a broker has after an import, as it exports it: what has the same name is replaced."""
    keys = ("name", "user", "vhost", "source", "destination", "routing_key")
    made = copy.deepcopy(current)
    for kind, added in plan["definitions"].items():
        names = [tuple(one.get(key) for key in keys) for one in added]
        kept = [one for one in made.get(kind, ()) if tuple(one.get(key) for key in keys) not in names]
        made[kind] = [*kept, *added]
    for exchange in made.get("exchanges", ()):
        exchange.pop("internal", None)  # as rabbitmqctl exports
    made["users"] = [user for user in made.get("users", ()) if user["name"] not in plan["absent_users"]]
    return made


@pytest.fixture
def whole() -> dict[str, Any]:
    """A broker that has what is wanted."""
    return after({}, broker_changes({}, WANTED))


def test_bare_broker_gets_everything_and_then_nothing_more(whole: dict[str, Any]) -> None:
    assert len(broker_changes({}, WANTED)["changes"]) == 7
    assert broker_changes(whole, WANTED) == {"changes": [], "problems": [], "definitions": {}, "absent_users": []}


def test_same_password_is_no_change_and_another_is_one(whole: dict[str, Any]) -> None:
    wanted = copy.deepcopy(WANTED)
    wanted["users"]["worker"]["password"] = "rotated"
    plan = broker_changes(whole, wanted)
    assert plan["changes"] == ["the user worker: its password"]
    assert broker_changes(after(whole, plan), wanted)["changes"] == []
    assert "rotated" not in str(plan)


def test_password_of_another_algorithm_is_set_anew(whole: dict[str, Any]) -> None:
    whole["users"][0]["hashing_algorithm"] = "rabbit_password_hashing_md5"
    assert broker_changes(whole, WANTED)["changes"] == ["the user worker: its password"]


def test_user_without_a_password_cannot_log_in_with_any(whole: dict[str, Any]) -> None:
    wanted = copy.deepcopy(WANTED)
    wanted["users"]["worker"]["password"] = ""
    plan = broker_changes(whole, wanted)
    assert plan["definitions"]["users"][0]["password_hash"] == ""
    assert broker_changes(after(whole, plan), wanted)["changes"] == []


def test_tags_of_a_user_stay_when_its_password_changes(whole: dict[str, Any]) -> None:
    whole["users"][0] |= {"tags": ["monitoring"], "password_hash": ""}
    assert broker_changes(whole, WANTED)["definitions"]["users"][0]["tags"] == ["monitoring"]


@pytest.mark.parametrize(
    "kind, key, value, change",
    [
        ("permissions", "write", ".*", "the user worker: its permissions"),
        ("policies", "priority", 5, "the policy lanes: replaced"),
        ("policies", "definition", {"max-length": 5}, "the policy lanes: replaced"),
    ],
)
def test_changed_value_is_replaced(whole: dict[str, Any], kind: str, key: str, value: Any, change: str) -> None:
    whole[kind][0][key] = value
    assert broker_changes(whole, WANTED)["changes"] == [change]


def test_policy_with_empty_extras_has_their_defaults(whole: dict[str, Any]) -> None:
    wanted = copy.deepcopy(WANTED)
    wanted["policies"]["lanes"] |= {"priority": None, "apply_to": None}
    assert broker_changes(whole, wanted)["changes"] == []


def test_things_of_another_virtual_host_do_not_count(whole: dict[str, Any]) -> None:
    for kind in ("exchanges", "queues", "bindings", "policies", "permissions"):
        whole[kind][0]["vhost"] = "/"
    assert len(broker_changes(whole, WANTED)["changes"]) == 5


def test_exchange_of_another_kind_is_a_problem_and_not_imported(whole: dict[str, Any]) -> None:
    whole["exchanges"][0]["type"] = "direct"
    plan = broker_changes(whole, WANTED)
    assert (len(plan["problems"]), plan["definitions"]) == (1, {})
    assert "llm.request exists as direct" in plan["problems"][0]


def test_unwanted_user_is_removed_when_it_is_there(whole: dict[str, Any]) -> None:
    whole["users"].append({"name": "guest", "tags": [], "password_hash": "x"})
    assert broker_changes(whole, WANTED)["absent_users"] == ["guest"]
