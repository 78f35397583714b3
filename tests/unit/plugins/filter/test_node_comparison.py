# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs on a node is named, with the node, both values and a remedy; what is as asked for is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.legionio.ollama.plugins.filter.node_comparison import node_comparison

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FULL = "registry.ollama.ai/library/smollm2:135m"


def found(**changes: Any) -> dict[str, Any]:
    """Return what was looked at on a node that is as asked for, but for some changes."""
    server_state = {"asked": "0.24.0-abc", "current": "0.24.0-abc", "running": "0.24.0-abc", "version": "0.24.0"}
    worker_state = {"asked": "1.0.0-abc", "current": "1.0.0-abc", "running": "1.0.0-abc"}
    return {
        "host": "gpu-01",
        "worker_name": "fleet-worker",
        "server_state": server_state,
        "worker_state": worker_state,
        "status": json.dumps({"ready": True, "summary": "1 of 1 lanes served"}),
        "server": {"version": "0.24.0", "models": [{"full_name": FULL, "digest": OLD}]},
        "names": ["smollm2:135m"],
        "mirror": {"models": [{"full_name": FULL, "digest": OLD}], "broken": []},
        **changes,
    }


def test_node_comparison_of_a_node_as_asked_for_has_no_problem() -> None:
    compared = node_comparison(found())
    assert compared["problems"] == []
    assert compared["seen"] == {
        "ollama": {
            "release_asked": "0.24.0-abc",
            "release_current": "0.24.0-abc",
            "release_running": "0.24.0-abc",
            "version": "0.24.0",
        },
        "worker": {
            "release_asked": "1.0.0-abc",
            "release_current": "1.0.0-abc",
            "release_running": "1.0.0-abc",
            "ready": True,
            "summary": "1 of 1 lanes served",
        },
        "models": [{"name": "smollm2:135m", "digest_node": OLD, "digest_mirror": OLD, "problem": ""}],
    }


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"mirror": {"models": [{"full_name": FULL, "digest": NEW}]}},
            ["gpu-01", "smollm2:135m", OLD, NEW, "update_models"],
        ),
        (
            {"server": {"version": "0.24.0", "models": []}},
            ["gpu-01 lacks the model smollm2:135m", OLD, "update_models"],
        ),
        ({"mirror": {"models": []}}, ["gpu-01", "smollm2:135m", OLD, "it has no such model", "Publish"]),
        ({"mirror": {"models": [], "broken": [{"name": "smollm2:135m", "problem": "it is empty"}]}}, ["it is empty"]),
        ({"mirror": {"msg": "The S3 server cannot be reached"}}, ["gpu-01", "The S3 server cannot be reached"]),
        ({"server": {"msg": "connection refused"}}, ["Ollama on gpu-01 does not answer: connection refused"]),
        ({"server": {"version": "0.23.0", "models": [{"full_name": FULL, "digest": OLD}]}}, ["0.23.0", "0.24.0"]),
        (
            {"worker_state": {"asked": "1.1.0-new", "current": "1.0.0-abc", "running": "1.0.0-abc"}},
            ["gpu-01", "1.0.0-abc of the worker", "1.1.0-new", "upgrade_fleet"],
        ),
        (
            {"server_state": {"asked": "0.25-new", "current": "0.25-new", "running": "0.24-old", "version": ""}},
            ["gpu-01 runs the release 0.24-old of Ollama", "0.25-new is current", "systemctl status ollama"],
        ),
        ({"status": "cannot connect"}, ["fleet-worker on gpu-01 gives no status"]),
        ({"status": '{"ready": false, "summary": "not connected to hub"}'}, ["is not ready: not connected to hub"]),
    ],
)
def test_node_comparison_of_a_node_that_differs_names_what_differs(changes: dict[str, Any], words: list[str]) -> None:
    problems = node_comparison(found(**changes))["problems"]
    assert len(problems) == 1, problems
    for word in words:
        assert word in problems[0]


def test_node_comparison_of_a_build_without_version_is_content() -> None:
    server = {"version": "0.0.0", "models": [{"full_name": FULL, "digest": OLD}]}
    assert node_comparison(found(server=server))["problems"] == []


def test_node_comparison_of_another_spelling_finds_the_model() -> None:
    server = {"version": "0.24.0", "models": [{"full_name": FULL.upper(), "digest": OLD}]}
    assert node_comparison(found(server=server, names=[FULL]))["problems"] == []


def test_node_comparison_without_mirror_compares_no_models() -> None:
    assert node_comparison(found(mirror=None, names=["other"]))["seen"]["models"] == []


def test_node_comparison_without_wanted_server_compares_the_worker_alone() -> None:
    compared = node_comparison(found(server_state=None))
    assert compared["problems"] == []
    assert compared["seen"]["ollama"]["release_asked"] is None


def test_node_comparison_of_a_name_that_no_model_can_have_says_so() -> None:
    with pytest.raises(AnsibleFilterError, match="a b"):
        node_comparison(found(names=["a b"]))
