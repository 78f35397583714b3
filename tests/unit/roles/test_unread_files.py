# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit has not read is found by its times; what each unit reads is in the list that is looked at.

The Molecule scenario asks a real systemd; here `systemctl` and `busctl` answer as it does.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import tasks_of

SCRIPT = Path(__file__).resolve().parents[3] / "roles/ollama_server/files/unread_files.sh"
WORKER = {
    "fleet_worker_broker_addresses": ["hub"],
    "fleet_worker_broker_password": "secret",
    "fleet_worker_broker_client_key": "/etc/pki/worker.key",
    "fleet_worker_ollama_headers": {"A": "b"},
    "fleet_worker_updates_broker_password": "hidden",
    "fleet_worker_updates_broker_client_key": "/etc/pki/updates.key",
    "fleet_worker_lanes": [{"type": "chat", "model": "a"}],
    "__fleet_worker_release": "1.0.0-0123456789",
    "__fleet_worker_venv": "cp311-x86_64-0123456789",
}


def unread(
    tools: Path,
    *paths: Path,
    started: int,
    active: int = 0,
    changed: int = 0,
    state: str = "active",
    stale: str = "no",
    **env: str,
) -> list[str]:
    """Ask the script about a unit that was started, became active and changed its state, in microseconds since 1970.

    :param stale: systemd's answer to the question whether the unit's files are other ones than those that it has read.
    """
    for name, text in {
        "systemctl": f'case "$*" in *NeedDaemonReload*) echo {stale};; *) echo {state};; esac',
        "busctl": f'case "$*" in *ExecMainStartTimestamp*) echo t {started};; *ActiveEnterTimestamp*) echo t'
        f" {active or started};; *) echo t {changed or active or started};; esac",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    command = ["sh", str(SCRIPT), "fleet-worker.service", *map(str, paths)]
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", **env}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.splitlines()


def microseconds() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Guam", "America/New_York"])
def test_file_written_after_the_start_is_printed_in_any_time_zone(tmp_path: Path, tools: Path, zone: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    time.sleep(0.02)
    started = microseconds()
    time.sleep(0.02)
    new.write_text("")
    assert unread(tools, old, new, tmp_path / "missing", started=started, TZ=zone) == [str(new)]


def test_file_moved_into_place_with_an_old_date_is_printed(tmp_path: Path, tools: Path) -> None:
    renewed = tmp_path / "key"
    started = microseconds()
    time.sleep(0.02)
    renewed.write_text("")
    os.utime(renewed, (0, 0))
    assert unread(tools, renewed, started=started) == [str(renewed)]


def test_link_is_printed_when_it_or_its_file_changed(tmp_path: Path, tools: Path) -> None:
    """A renewal of a certificate replaces the link, or writes the file behind the link."""
    for name in ("old", "new"):
        (tmp_path / name).write_text("")
    rewritten, replaced, same, folder = (tmp_path / name for name in ("rewritten", "replaced", "same", "folder"))
    rewritten.symlink_to("new")
    same.symlink_to("old")
    (tmp_path / "release/bin").mkdir(parents=True)
    folder.symlink_to("release")
    time.sleep(0.02)
    started = microseconds()
    time.sleep(0.02)
    (tmp_path / "new").write_text("x")
    replaced.symlink_to("old")
    (tmp_path / "release/bin/cache").write_text("")
    assert unread(tools, rewritten, replaced, same, folder, started=started) == [str(replaced), str(rewritten)]


def test_reloaded_file_alone_is_compared_with_the_reload(tmp_path: Path, tools: Path) -> None:
    config = tmp_path / "config"
    started = microseconds()
    time.sleep(0.02)
    config.write_text("")
    assert unread(tools, started=started, RELOADED=str(config)) == [str(config)]
    time.sleep(0.02)
    assert unread(tools, started=started, changed=microseconds(), RELOADED=str(config)) == []


def test_file_written_while_the_unit_gets_ready_is_printed(tmp_path: Path, tools: Path) -> None:
    """The process has read its files at once, and waits for a server before it reports that it is ready."""
    config = tmp_path / "config"
    started = microseconds()
    time.sleep(0.02)
    config.write_text("")
    time.sleep(0.02)
    assert unread(tools, started=started, active=microseconds(), RELOADED=str(config)) == [str(config)]
    assert unread(tools, started=started, state="activating", active=1, RELOADED=str(config)) == [str(config)]


def test_directory_that_lost_a_file_is_printed(tmp_path: Path, tools: Path) -> None:
    folder = tmp_path / "unit.d"
    folder.mkdir()
    (folder / "50-overrides.conf").write_text("")
    time.sleep(0.02)
    started = microseconds()
    time.sleep(0.02)
    (folder / "50-overrides.conf").unlink()
    assert unread(tools, folder, started=started) == [str(folder)]


def test_files_of_a_stopped_unit_are_not_printed(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "new").write_text("")
    assert unread(tools, tmp_path / "new", started=1, state="failed") == []
    assert unread(tools, tmp_path / "new", started=0) == []


UNIT = Path("/etc/systemd/system/fleet-worker.service")


@pytest.mark.parametrize("state", ["inactive", "failed", "active"])
def test_unit_file_that_systemd_has_not_read_is_printed_whenever_the_process_started(tools: Path, state: str) -> None:
    """A start, also one by systemd after a crash, uses the unit in the memory of systemd."""
    started = microseconds() if state == "active" else 0
    assert unread(tools, UNIT, started=started, state=state, stale="yes") == [str(UNIT)]
    assert unread(tools, UNIT, started=started, state=state, stale="no") == []
    # Who asks about other files alone learns nothing about the unit.
    assert unread(tools, started=started, state=state, stale="yes") == []


@pytest.mark.parametrize(
    "role, files, unit, options",
    [
        ("ollama_server", "__ollama_server_unit_files", "ollama", {}),
        ("fleet_worker", "__fleet_worker_worker_files", "fleet-worker", WORKER),
        ("fleet_worker", "__fleet_worker_updates_files", "fleet-worker-updates", WORKER),
        ("fleet_gateway", "__fleet_gateway_files", "fleet-gateway", {"__fleet_gateway_release_path": "/opt/x"}),
        ("ollama_models", "__ollama_models_peers_files", "ollama-blobs", {}),
    ],
)
def test_every_role_asks_about_the_unit_that_it_writes(
    evaluate: Any, role: str, files: str, unit: str, options: dict[str, Any]
) -> None:
    assert f"/etc/systemd/system/{unit}.service" in evaluate(role, files, **options)


def test_file_read_by_a_reload_is_printed_only_when_it_is_newer_than_that(tmp_path: Path, tools: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    time.sleep(0.02)
    after = microseconds()
    assert unread(tools, tools / "missing", started=1, changed=after, RELOADED=str(config)) == []
    assert unread(tools, tools / "missing", started=1, changed=2, RELOADED=str(config)) == [str(config)]


@pytest.mark.parametrize(
    "role, template, unit, files",
    [
        ("ollama_server", "ollama.service.j2", "ollama", "__ollama_server_unit_files"),
        ("fleet_worker", "fleet-worker.service.j2", "fleet-worker", "__fleet_worker_worker_files"),
        ("fleet_worker", "fleet-updates.service.j2", "fleet-worker-updates", "__fleet_worker_updates_files"),
    ],
)
def test_every_file_that_a_unit_reads_is_looked_at(
    render: Any, evaluate: Any, role: str, template: str, unit: str, files: str
) -> None:
    options = WORKER if role == "fleet_worker" else {}
    listed = evaluate(role, files, **options)
    if unit == "fleet-worker":
        listed = [*listed, "/etc/legionio/fleet-worker.yml"]  # given as RELOADED
    text = render(role, template, **options)
    read = re.findall(r"^EnvironmentFile=-?(\S+)|^LoadCredential=[^:]+:(\S+)|--config (\S+)", text, re.MULTILINE)
    wanted = {name for names in read for name in names if name}
    wanted |= {f"/etc/systemd/system/{unit}.service", f"/etc/systemd/system/{unit}.service.d"}
    wanted |= {path.split("/bin/")[0] for path in re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)}
    assert len(wanted) > 3
    assert [path for path in sorted(wanted) if not any(f"{path}/".startswith(f"{one}/") for one in listed)] == []


@pytest.mark.parametrize("tls", [{}, {"ca_path": "/tls/ca", "cert": "/tls/cert", "key": "/tls/key"}])
def test_every_file_that_the_blob_service_reads_is_looked_at(render: Any, evaluate: Any, tls: dict[str, str]) -> None:
    options: dict[str, Any] = {f"ollama_models_peers_{name}": path for name, path in tls.items()}
    options["__ollama_models_peers_release"] = "/opt/legionio/ollama-blobs/0123456789ab"
    text = render("ollama_models", "ollama-blobs.service.j2", **options)
    read = re.findall(r"^LoadCredential=[^:]+:(\S+)|^ExecStart=\S+ -B -m blob_server (\S+)", text, re.MULTILINE)
    wanted = {name for names in read for name in names if name} | {"/etc/systemd/system/ollama-blobs.service"}
    settings = evaluate("ollama_models", "__ollama_models_peers_config", **options)["tls"] or {}
    wanted |= {path for path in settings.values() if path.startswith("/")}
    assert len(wanted) == 3 + len(tls)
    assert sorted(evaluate("ollama_models", "__ollama_models_peers_files", **options)) == sorted(wanted)


@pytest.mark.parametrize("peers", [[], ["gpu-1"]])
def test_every_tls_file_of_the_peers_that_the_updates_read_is_looked_at(evaluate: Any, peers: list[str]) -> None:
    """The updates read them at their start only, unlike the files of the connection to the broker."""
    files = {"ca_path": "/tls/ca", "cert": "/tls/cert", "key": "/tls/key"}
    options: dict[str, Any] = {f"fleet_worker_updates_peers_{name}": path for name, path in files.items()}
    options["fleet_worker_updates_peers"] = peers
    listed = evaluate("fleet_worker", "__fleet_worker_updates_files", **options, **WORKER)
    assert [path for path in listed if path.startswith("/tls/")] == (sorted(files.values()) if peers else [])


def test_blob_service_is_restarted_after_a_run_that_was_interrupted() -> None:
    tasks = yaml.safe_load((SCRIPT.parents[2] / "ollama_models/tasks/peers.yml").read_text())
    (run,) = (task["ansible.builtin.systemd_service"] for task in tasks if "ansible.builtin.systemd_service" in task)
    registered = [task["register"] for task in tasks if "register" in task]
    assert run["daemon_reload"] is True
    wanted = {name for name in registered if name.endswith("_file")} | {"__ollama_models_peers_unread"}
    assert set(re.findall(r"(\w+) is changed", run["state"])) == wanted
    # The process may still run from an older release until then.
    names = [task["name"] for task in tasks]
    assert names.index("Run the service") < names.index("Remove older releases of the service")


def test_worker_is_reloaded_when_lanes_and_limits_alone_have_changed(evaluate: Any) -> None:
    def reloads(before: dict[str, Any], **after: Any) -> bool:
        text = json.dumps(evaluate("fleet_worker", "__fleet_worker_config", **{**WORKER, **before}))
        slurped = {"content": base64.b64encode(text.encode()).decode()}
        options = {**WORKER, **after, "__fleet_worker_config_before": slurped}
        return bool(evaluate("fleet_worker", "__fleet_worker_reloads", **options))

    lanes = [{"type": "embed", "model": "b"}]
    assert reloads({}, fleet_worker_lanes=lanes, fleet_worker_model_concurrency={"b": 1}, fleet_worker_auto_lanes=True)
    assert not reloads({}, fleet_worker_lanes=lanes, fleet_worker_concurrency=3)
    assert not reloads({"fleet_worker_config": {"ollama": {"patience": 5}}}, fleet_worker_lanes=lanes)


@pytest.mark.parametrize(
    "state, unread_lines, topic",
    [
        ("active", [], "Fleet worker reconfigured"),
        ("active", ["/etc/legionio/fleet-worker.yml"], "Fleet worker changed"),
        # systemd waits for its next try to start the worker, and refuses a reload.
        ("activating", [], "Fleet worker changed"),
        ("failed", [], "Fleet worker changed"),
    ],
)
def test_worker_that_does_not_run_or_has_missed_a_change_is_restarted(
    evaluate: Any, state: str, unread_lines: list[str], topic: str
) -> None:
    every = tasks_of(yaml.safe_load((SCRIPT.parents[2] / "fleet_worker/tasks/configure.yml").read_text()))
    (task,) = [task for task in every if task.get("name") == "Write the configuration"]
    variables = {
        "__fleet_worker_reloads": True,
        "__fleet_worker_active": {"stdout": state},
        "__fleet_worker_config_unread": {"stdout_lines": unread_lines},
    }
    notify = trust_as_template(task["notify"])
    assert evaluate("fleet_worker", "notify", **{**WORKER, "notify": notify}, **variables) == topic


def test_role_and_worker_agree_on_what_a_reload_takes_over(evaluate: Any) -> None:
    source = (SCRIPT.parents[2] / "fleet_worker/files/fleet_worker/process/service.py").read_text()
    (listed,) = re.findall(r"^RELOADED = (\(.*\))$", source, re.MULTILINE)
    assert sorted(evaluate("fleet_worker", "__fleet_worker_reloaded_keys")) == sorted(ast.literal_eval(listed))


def test_staged_release_notifies_no_handler() -> None:
    """upgrade_fleet stages while the workers serve; a handler would restart all of them at once."""
    tasks = SCRIPT.parents[2] / "fleet_worker/tasks"
    for name in ("install.yml", "release.yml", "venv.yml", "interpreter.yml"):
        assert "notify" not in (tasks / name).read_text(), name
    assert "notify" not in (SCRIPT.parents[1] / "tasks/stage.yml").read_text()
