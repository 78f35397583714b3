# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of a broker join only if all of them agree on who is in the cluster. The Molecule scenario makes a real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from ansible.template import trust_as_template

JOIN = Path(__file__).resolve().parents[3] / "roles/fleet_broker/tasks/join.yml"
HOSTS = ("hub1", "hub2", "hub3")
CLUSTER = dict.fromkeys(HOSTS, HOSTS)
ALONE = {host: (host,) for host in HOSTS}
#: The disk of hub1 was replaced.
REINSTALLED = {**CLUSTER, "hub1": ("hub1",)}
#: Afterwards the others have forgotten it.
FORGOTTEN = {**dict.fromkeys(HOSTS, HOSTS[1:]), "hub1": ("hub1",)}


def status(members: tuple[str, ...]) -> dict[str, str]:
    return {"stdout": json.dumps({"disk_nodes": [f"rabbit@{member}" for member in members]})}


def options_of(
    host: str, known: Mapping[str, tuple[str, ...]], run: tuple[str, ...], check: bool, answering: tuple[str, ...]
) -> dict[str, Any]:
    """Return the variables of a host in a run with the hosts ``run``; the hosts ``answering`` have answered."""
    hosts: dict[str, Any] = {name: {} for name in HOSTS}
    for name in run:
        hosts[name] = {"ansible_facts": {"hostname": name}}
        if name in answering:
            hosts[name]["__fleet_broker_status"] = status(known[name])
    return {
        "fleet_broker_cluster": list(HOSTS),
        "hostvars": hosts,
        "ansible_play_hosts_all": list(run),
        "ansible_check_mode": check,
        "__fleet_broker_status": status(known[host]),
        "host": host,
        "facts": {"hostname": host},
    }


def refusal(evaluate: Any, options: Mapping[str, Any]) -> Optional[str]:
    """Return the message of the first refusal before a node joins."""
    for task in yaml.safe_load(JOIN.read_text()):
        asked = task.get("ansible.builtin.assert")
        if asked is None:
            continue
        given = {name: trust_as_template(value) for name, value in task.get("vars", {}).items()}
        # Ansible evaluates the message in any case.
        message = evaluate("fleet_broker", "text", text=trust_as_template(asked["fail_msg"]), **given, **options)
        if not evaluate(
            "fleet_broker", "met", met=trust_as_template("{{ " + asked["that"] + " }}"), **given, **options
        ):
            return str(message)
    return None


@pytest.mark.parametrize(
    "known, run, host, reason",
    [
        (CLUSTER, HOSTS, "hub1", None),
        (CLUSTER, HOSTS, "hub3", None),
        (ALONE, HOSTS, "hub1", None),
        (ALONE, HOSTS, "hub2", None),
        # Runs of a part of a cluster that is complete.
        (CLUSTER, HOSTS[1:], "hub2", None),
        (CLUSTER, HOSTS[:1], "hub1", None),
        (REINSTALLED, HOSTS, "hub1", "rabbit@hub2 counts rabbit@hub1 as a member"),
        (REINSTALLED, HOSTS, "hub2", "rabbitmqctl forget_cluster_node rabbit@hub1."),
        (REINSTALLED, HOSTS, "hub1", "join_cluster rabbit@hub2 &&"),
        (REINSTALLED, HOSTS, "hub1", "start_app && rabbitmq-queues grow rabbit@hub1 all."),
        (REINSTALLED, HOSTS[:2], "hub1", "rabbit@hub2 counts rabbit@hub1 as a member"),
        (REINSTALLED, HOSTS[:1], "hub1", "hub2, hub3 of fleet_broker_cluster could not be asked"),
        (FORGOTTEN, HOSTS[:1], "hub1", "hub2, hub3 of fleet_broker_cluster could not be asked"),
        (ALONE, HOSTS[1:], "hub2", "hub1 of fleet_broker_cluster could not be asked"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_cluster_whose_members_may_disagree_is_refused(
    evaluate: Any,
    known: Mapping[str, tuple[str, ...]],
    run: tuple[str, ...],
    host: str,
    reason: Optional[str],
    check: bool,
) -> None:
    refused = refusal(evaluate, options_of(host, known, run, check, run))
    assert (refused is None) if reason is None else reason in str(refused)


#: What rabbitmq-queues prints (4.0, then 3.10). It ends with 0 each time.
NONE_LEFT = "\n"
HEADER = "vhost\tname\tsize\tresult\n"
GROWN = f"{HEADER}/\tllm.one\t2\tok\n"
NO_LEADER = f"{HEADER}/\tllm.one\t2\tok\n/\tllm.two\t1\terror: {{no_more_servers_to_try,[{{error,noproc}}]}}\n"
NO_LEADER_3 = f"error: {{no_more_servers_to_try,[{{error,noproc}}]}}{HEADER}/\tllm.two\t1\tok\n/\tllm.one\t2\tok\n"


def growing() -> dict[str, Any]:
    return next(task for task in yaml.safe_load(JOIN.read_text()) if "grow" in str(task.get("ansible.builtin.command")))


@pytest.mark.parametrize(
    "stdout, code, done, changed",
    [
        (NONE_LEFT, 0, True, False),
        (GROWN, 0, True, True),
        (NO_LEADER, 0, False, True),
        (NO_LEADER_3, 0, False, True),
        ("", 64, False, False),
    ],
)
def test_queues_grow_until_each_has_a_member(evaluate: Any, stdout: str, code: int, done: bool, changed: bool) -> None:
    def holds(name: str, attempts: int, joined: bool) -> bool:
        answer = {"rc": code, "stdout": stdout, "attempts": attempts}
        condition = trust_as_template("{{ " + growing()[name] + " }}")
        result = {"__fleet_broker_grown": answer, "__fleet_broker_joined": {"changed": joined}}
        return bool(evaluate("fleet_broker", "condition", condition=condition, **result))

    assert holds("changed_when", 1, True) is changed
    assert holds("until", 1, True) is holds("until", 6, True) is holds("until", 1, False) is done
    # In a later run, the last try ends without a failure: a dead node may keep a queue without a leader.
    assert holds("until", growing()["retries"] + 1, False) is True


@pytest.mark.parametrize(
    "joined, vhosts", [({"changed": True}, ".*"), ({"changed": False}, r"^/a\.b$"), ({"skipped": True}, r"^/a\.b$")]
)
def test_all_queues_grow_to_a_node_that_joins_and_later_those_of_the_fleet(
    evaluate: Any, joined: dict[str, Any], vhosts: str
) -> None:
    command = growing()["ansible.builtin.command"]["argv"]
    found = evaluate(
        "fleet_broker",
        "command",
        command=[trust_as_template(word) for word in command],
        facts={"hostname": "hub2"},
        fleet_broker_vhost="/a.b",
        __fleet_broker_joined=joined,
    )
    assert found == ["rabbitmq-queues", "--quiet", "grow", "rabbit@hub2", "all", "--vhost-pattern", vhosts]


def test_check_mode_passes_hosts_of_the_run_that_have_no_broker_yet(evaluate: Any) -> None:
    assert refusal(evaluate, options_of("hub1", ALONE, HOSTS, True, ("hub1",))) is None
    refused = refusal(evaluate, options_of("hub1", ALONE, HOSTS, False, ("hub1", "hub2")))
    assert "hub3 of fleet_broker_cluster could not be asked" in str(refused)
