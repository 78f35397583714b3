# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal refuses before it changes anything, repairs one that was interrupted, and empties what it cannot remove.

The Molecule scenarios remove a real node; here `findmnt` answers as it does where something is mounted.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "roles/ollama_server/files/mounted_directories.sh"


def mounted(tools: Path, *paths: str, mounts: list[str]) -> list[str]:
    """Ask the script which of the paths have one of the mounts."""
    (tools / "findmnt").write_text("#!/bin/sh\n" + "".join(f"echo '{mount}'\n" for mount in mounts))
    (tools / "findmnt").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["sh", str(SCRIPT), *paths]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.splitlines()


@pytest.mark.parametrize("mount", ["{home}/models", "{home}/models/blobs"])
def test_directory_with_a_mount_is_printed_and_so_is_the_one_above(tmp_path: Path, tools: Path, mount: str) -> None:
    home = f"{tmp_path}/home"
    paths = [f"{home}/models", home, f"{home}/mod", f"{home}/models2"]
    assert mounted(tools, *paths, mounts=["/", "/proc", mount.format(home=home)]) == paths[:2]


def test_mount_is_found_behind_a_link_and_with_a_slash_at_the_end(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "disk/models").mkdir(parents=True)
    (tmp_path / "srv").symlink_to("disk")
    for path in (f"{tmp_path}/srv/models", f"{tmp_path}/srv/models/"):
        assert mounted(tools, path, mounts=["/", f"{tmp_path}/disk/models"]) == [path]


def test_link_to_a_mount_is_not_printed_because_it_can_be_removed(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to("disk")
    assert mounted(tools, f"{tmp_path}/models", mounts=["/", f"{tmp_path}/disk"]) == []


def test_nothing_is_printed_of_directories_without_a_mount(tools: Path) -> None:
    assert mounted(tools, "/srv/models", "/models", mounts=["/", "/srv", "/srv/model"]) == []
    assert mounted(tools, mounts=["/"]) == []


def tasks(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / path).read_text())
    return found


def includes(play: dict[str, Any], part: str) -> dict[str, Any]:
    """Return variables and condition of each include of a role's tasks of that name, by the role."""
    return {
        task["ansible.builtin.include_role"]["name"]: (task.get("vars"), task.get("when"))
        for task in play["tasks"]
        if task.get("ansible.builtin.include_role", {}).get("tasks_from") == part
    }


def test_every_refusal_comes_before_the_drain_and_knows_what_will_be_removed() -> None:
    checks, drain, removal = tasks("playbooks/remove_fleet.yml")
    assert drain["ansible.builtin.import_playbook"] == "drain_fleet.yml"
    modules = {key for task in checks["tasks"] for key in task if key.startswith("ansible.builtin.")}
    assert modules == {"ansible.builtin.assert", "ansible.builtin.include_role"}
    assert len(includes(removal, "absent")) == 2
    assert includes(checks, "absent_preflight") == includes(removal, "absent")
    assert len(checks["tasks"]) == 3


@pytest.mark.parametrize("role", ["ollama_server", "fleet_worker"])
def test_refusals_of_a_removal_change_nothing_and_are_all_in_the_preflight(role: str) -> None:
    preflight, removal = (tasks(f"roles/{role}/tasks/{name}.yml") for name in ("absent_preflight", "absent"))
    modules = {key.rpartition(".")[2] for task in preflight for key in task if key.startswith("ansible.builtin.")}
    assert modules <= {"assert", "command", "stat"}
    assert all(task["changed_when"] is False for task in preflight if "ansible.builtin.command" in task)
    assert removal[0]["ansible.builtin.import_tasks"] == "absent_preflight.yml"
    assert not [task["name"] for task in removal if "ansible.builtin.assert" in task or "ansible.builtin.fail" in task]


@pytest.mark.parametrize(
    "options, short",
    [
        ({"ollama_server_models_path": "/models"}, []),
        ({"ollama_server_models_path": "/models", "__ollama_server_with_models": True}, ["/models"]),
        ({"ollama_server_home": "/home", "__ollama_server_with_models": True}, ["/home"]),
        ({"ollama_server_root": "/opt"}, ["/opt"]),
        ({"__ollama_server_with_models": True}, []),
    ],
)
def test_short_path_is_refused_when_it_would_be_removed(
    evaluate: Any, options: dict[str, Any], short: list[str]
) -> None:
    expression = tasks("roles/ollama_server/tasks/absent_preflight.yml")[0]["vars"]["__ollama_server_short"]
    assert evaluate("ollama_server", "short", short=trust_as_template(expression), **options) == short


def test_removal_of_a_gateway_refuses_before_it_changes_anything() -> None:
    removal = tasks("roles/fleet_gateway/tasks/absent.yml")
    stop = next(number for number, task in enumerate(removal) if "ansible.builtin.systemd_service" in task)
    for task in removal[:stop]:
        assert {"ansible.builtin.assert", "ansible.builtin.stat"} & set(task) or task["changed_when"] is False
    assert not [task["name"] for task in removal[stop:] if "ansible.builtin.assert" in task]


@pytest.mark.parametrize("kept, removed", [(2, ["a"]), (1, ["back", "a"])])
def test_release_that_runs_is_not_removed_when_another_one_is_wanted(
    evaluate: Any, kept: int, removed: list[str]
) -> None:
    """``upgrade_fleet`` has staged the wanted release, and then only the configuration is asked for."""
    task = tasks("roles/ollama_server/tasks/start.yml")[-1]
    releases = ["wanted", "runs", "back", "a"]
    variables = {name: trusted(value) for name, value in task["vars"].items()} | {
        "ansible_check_mode": False,
        "ollama_server_releases_kept": kept,
        "__ollama_server_release_path": "/opt/x/releases/wanted",
        "__ollama_server_running": {"stat": {"lnk_target": "releases/runs"}},
        "__ollama_server_previous": {"stat": {"lnk_target": "releases/back"}},
        "__ollama_server_releases": {
            "files": [{"path": f"/opt/x/releases/{name}", "mtime": -age} for age, name in enumerate(releases)]
        },
    }
    gone = evaluate(
        "ollama_server", "gone", gone=trust_as_template(task["loop"]), ollama_server_root="/opt/x", **variables
    )
    assert gone == [f"/opt/x/releases/{name}" for name in removed]


@pytest.mark.parametrize("is_check", [False, True])
def test_check_mode_names_the_releases_that_the_run_removes(evaluate: Any, is_check: bool) -> None:
    """Before an upgrade to ``new``, ``current`` leads to ``c`` and ``previous`` to ``b``; the run changes both."""
    back, running, there = ("b", "c", ["c", "b"]) if is_check else ("c", "new", ["new", "c", "b"])
    links = {
        "__ollama_server_current": {"stat": {"lnk_target": "releases/c", "exists": True}},
        "__ollama_server_running": {"stat": {"lnk_target": f"releases/{running}"}},
        "__ollama_server_previous": {"stat": {"lnk_target": f"releases/{back}"}},
        "__ollama_server_releases": {
            "files": [{"path": f"/opt/x/releases/{name}", "mtime": -age} for age, name in enumerate(there)]
        },
    }
    task = tasks("roles/ollama_server/tasks/start.yml")[-1]
    gone = evaluate(
        "ollama_server",
        "gone",
        gone=trust_as_template(task["loop"]),
        ollama_server_root="/opt/x",
        ollama_server_releases_kept=2,
        ansible_check_mode=is_check,
        __ollama_server_release="new",
        __ollama_server_release_path="/opt/x/releases/new",
        **{name: trusted(value) for name, value in task["vars"].items()},
        **links,
    )
    assert gone == ["/opt/x/releases/b"]
    links = {
        "__fleet_worker_current": {"stat": {"lnk_target": "releases/c"}},
        "__fleet_worker_previous": {"stat": {"lnk_target": f"releases/{back}"}},
        "__fleet_worker_installed": {
            "stdout_lines": [f"release /opt/y/releases/{name} {-age} ../../venvs/v" for age, name in enumerate(there)]
        },
    }
    task = tasks("roles/fleet_worker/tasks/start.yml")[-1]
    gone = evaluate(
        "fleet_worker",
        "gone",
        gone=trust_as_template(task["loop"]),
        fleet_worker_root="/opt/y",
        fleet_worker_releases_kept=2,
        ansible_check_mode=is_check,
        __fleet_worker_release="new",
        __fleet_worker_release_path="/opt/y/releases/new",
        **{name: trusted(value) for name, value in task["vars"].items()},
        **links,
    )
    assert gone == ["/opt/y/releases/b"]


@pytest.mark.parametrize(
    "url, archive, packages",
    [
        ("https://s3.example.com/ollama-linux-amd64.tar.zst?X-Amz-Signature=abc", True, ["zstd"]),
        ("https://example.com/ollama.tgz#part", True, []),
        ("https://example.com/ollama?file=x.tgz", False, []),
    ],
)
def test_url_with_a_query_is_known_by_its_path(evaluate: Any, url: str, archive: bool, packages: list[str]) -> None:
    assert evaluate("ollama_server", "__ollama_server_is_archive", ollama_server_url=url) is archive
    assert evaluate("ollama_server", "__ollama_server_packages", ollama_server_url=url) == packages
    assert "abc" not in evaluate("ollama_server", "__ollama_server_shown", ollama_server_url=url)
    assert evaluate("ollama_server", "__ollama_server_has_query", ollama_server_url=url) is ("?" in url)


def trusted(value: Any) -> Any:
    return [trust_as_template(one) for one in value] if isinstance(value, list) else trust_as_template(value)


def test_interrupted_removal_of_the_blob_service_is_repaired() -> None:
    """The unit may be gone already, but the secret is not: what removes the files asks for no unit."""
    (removal,) = (task for task in tasks("roles/ollama_models/tasks/no_peers.yml") if "ansible.builtin.file" in task)
    assert "when" not in removal
    assert {"{{ __ollama_models_peers_secrets_path }}", "{{ __ollama_models_peers_root }}"} < set(removal["loop"])


@pytest.mark.parametrize(
    "path",
    ["ollama_server/tasks/absent_preflight", "fleet_worker/tasks/absent_preflight", "fleet_gateway/tasks/absent"],
)
def test_unit_of_a_package_is_not_removed(evaluate: Any, path: str) -> None:
    role = path.partition("/")[0]
    unit = {"ollama_server": "ollama", "fleet_worker": "fleet-worker", "fleet_gateway": "fleet-gateway"}[role]
    (refusal,) = (
        task["ansible.builtin.assert"]["that"]
        for task in tasks(f"roles/{path}.yml")
        if "ansible.builtin.assert" in task and isinstance(task["ansible.builtin.assert"]["that"], list)
    )
    for folder, fits in (("", True), ("/etc/systemd/system", True), ("/usr/lib/systemd/system", False)):
        place = f"{folder}/{unit}.service" if folder else ""
        fragment = {f"__{role}_fragment": {"stdout": place + "\n"}}
        condition = trust_as_template("{{ " + refusal[-1] + " }}")
        assert evaluate(role, "fits", fits=condition, **fragment) is fits


@pytest.mark.parametrize("role", ["fleet_worker", "fleet_gateway"])
def test_removal_removes_no_empty_directory_of_others(role: str) -> None:
    text = (ROOT / f"roles/{role}/tasks/absent.yml").read_text()
    assert "| dirname" not in text and "rmdir, /opt/legionio, /etc/legionio/credentials, /etc/legionio]" in text
