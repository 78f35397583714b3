# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal refuses before it changes anything, repairs one that was interrupted, and empties what it cannot remove.

The Molecule scenarios remove a real node; here `findmnt` answers as it does where something is mounted.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import tasks_of

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


def test_directories_without_a_mount_are_not_printed(tools: Path) -> None:
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


#: What is on a node: the wanted release, the one that runs, the previous one, and an older one.
RELEASES = ("wanted", "runs", "back", "a")


def gone(evaluate: Any, role: str, **variables: Any) -> list[str]:
    """Return the releases, and the environments, that the last task of a role's start removes."""
    task = tasks(f"roles/{role}/tasks/start.yml")[-1]
    words = {name: trusted(value) for name, value in task["vars"].items()}
    paths = evaluate(role, "gone", gone=trust_as_template(task["loop"]), **{**variables, **words})
    return [Path(path).name for path in paths]


def links(role: str, name: str, there: tuple[str, ...], *, kept: int, checking: bool, changes: bool) -> dict[str, Any]:
    """Return what a role knows before that task: the releases that are there, and what its links lead to.

    :param name: of the variable with the current release.
    :param changes: whether the run, by its tags, makes the wanted release the current one.
    """
    current = {"stat": {"lnk_target": "releases/runs" if checking or not changes else "releases/wanted"}}
    previous = {"stat": {"lnk_target": "releases/back" if checking or not changes else "releases/runs"}}
    return {
        "ansible_check_mode": checking,
        f"{role}_releases_kept": kept,
        f"{role}_root": "/opt/x",
        f"__{role}_release": "wanted",
        f"__{role}_release_path": "/opt/x/releases/wanted",
        f"__{role}_venv": "v",
        name: current,
        f"__{role}_previous": previous,
        f"__{role}_releases": {
            "files": [{"path": f"/opt/x/releases/{name}", "mtime": -RELEASES.index(name)} for name in there]
        },
        f"__{role}_installed": {
            "stdout_lines": [
                *(f"release /opt/x/releases/{name} {9 - RELEASES.index(name)} ../../venvs/v" for name in there),
                "venv /opt/x/venvs/v",
            ]
        },
    }


@pytest.mark.parametrize("role, name", [("ollama_server", "running"), ("fleet_worker", "current_now")])
@pytest.mark.parametrize("checking", [False, True])
@pytest.mark.parametrize(
    "kept, changes, removed", [(1, True, 3), (2, True, 2), (1, False, 2), (2, False, 1), (9, True, 0)]
)
def test_release_that_runs_or_ran_before_is_removed_last(
    evaluate: Any, role: str, name: str, kept: int, changes: bool, checking: bool, removed: int
) -> None:
    """With the tag of only one part, the running release stays as it is. Check mode foretells the same."""
    there = RELEASES[1:] if checking and changes else RELEASES
    variables = links(role, f"__{role}_{name}", there, kept=kept, checking=checking, changes=changes)
    if changes:
        variables[f"__{role}_current"] = {"stat": {"lnk_target": "releases/runs"}}
    assert sorted(gone(evaluate, role, **variables)) == sorted(["a", "back", "runs"][:removed])


@pytest.mark.parametrize("role, name", [("ollama_server", "running"), ("fleet_worker", "current_now")])
def test_upgrade_keeps_the_release_that_its_message_offers(evaluate: Any, role: str, name: str) -> None:
    """A question to a model, or the verification, may fail after the role has removed releases."""
    (included,) = (
        task
        for task in tasks_of(yaml.safe_load((ROOT / "playbooks/tasks/change_node.yml").read_text()))
        if task.get("ansible.builtin.include_role") == {"name": f"legionio.ollama.{role}"}
    )
    variables = links(role, f"__{role}_{name}", RELEASES, kept=1, checking=False, changes=True)
    variables[f"__{role}_current"] = {"stat": {"lnk_target": "releases/runs"}}
    assert sorted(gone(evaluate, role, **variables, **included["vars"])) == ["a", "back"]


@pytest.mark.parametrize("checking", [False, True])
@pytest.mark.parametrize("changes, removed", [(True, {"a", "back", "runs"}), (False, {"a", "back"})])
def test_gateway_keeps_the_release_that_runs(evaluate: Any, changes: bool, checking: bool, removed: set[str]) -> None:
    there = RELEASES[1:] if checking and changes else RELEASES
    variables = links("fleet_gateway", "__fleet_gateway_current", there, kept=1, checking=checking, changes=changes)
    if changes:
        variables["__fleet_gateway_linked"] = {}
    assert set(gone(evaluate, "fleet_gateway", **variables)) == removed


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
    "loaded, calls",
    [
        # An interrupted run has removed the file, and systemd does not know that yet.
        (["loaded", "not-found"], ["daemon-reload", "reset-failed a.service", "reset-failed b.service"]),
        # It has reloaded systemd, too: a unit that has failed is still listed.
        (["not-found", "not-found"], ["reset-failed a.service", "reset-failed b.service"]),
    ],
)
def test_systemd_forgets_units_whose_files_are_gone(
    tools: Path, tmp_path: Path, loaded: list[str], calls: list[str]
) -> None:
    """A unit that has not failed makes the reset fail, and the removal goes on."""
    answers = "".join(f"*show*{unit}.service) echo {state};; " for unit, state in zip("ab", loaded))
    recorded = 'echo "$*" >> "$CALLS"; [ "$1" = daemon-reload ]'
    (tools / "systemctl").write_text(f'#!/bin/sh\ncase "$*" in {answers}*) {recorded};; esac\n')
    (tools / "systemctl").chmod(0o755)
    script = ROOT / "roles/ollama_server/files/forget_units.sh"
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    subprocess.run(["sh", str(script), "a.service", "b.service"], check=True, env=environment)
    assert (tmp_path / "calls").read_text().splitlines() == calls


@pytest.mark.parametrize(
    "path",
    [
        "ollama_server/tasks/absent", "fleet_gateway/tasks/absent", "fleet_worker/tasks/absent",
        "fleet_worker/tasks/no_updates", "ollama_models/tasks/no_peers",
    ],
)  # fmt: skip
def test_run_that_finds_no_files_completes_an_interrupted_removal(path: str) -> None:
    """The earlier run may have been killed after it removed the unit, and before systemd read its units again."""
    found = tasks(f"roles/{path}.yml")
    (place,) = (
        number
        for number, task in enumerate(found)
        if re.search("forget_units|daemon-reload", str(task.get("ansible.builtin.command")))
    )
    assert found[place]["when"] == "not ansible_check_mode"
    assert any("/etc/systemd/system/" in str(task) for task in found[:place])
    assert not [task["name"] for task in tasks_of(found) if "daemon_reload" in task]


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
    text = (ROOT / f"roles/{role}/tasks/absent.yml").read_text().replace("(role_path | dirname)", "")
    assert "| dirname" not in text and "rmdir, /opt/legionio, /etc/legionio/credentials, /etc/legionio]" in text
