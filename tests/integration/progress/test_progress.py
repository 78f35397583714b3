# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live progress of real playbooks, whose output is read line by line while they run."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import container
import faulty_proxy
import pytest
import services
import sshd
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from mirror_lab import Model, assert_sound, options
from playing import LINE, Play, slow_line
from registry import Registry, running_registry

MB = 1_000_000


@pytest.fixture
def model(settings: S3Settings) -> Model:
    """A model in the mirror that takes some six seconds over the slow line."""
    return Model("tiny:1b", [random.randbytes(30 * MB), b"small"]).publish(Mirror(settings))


@pytest.fixture
def through(settings: S3Settings, slow: faulty_proxy.Proxy) -> dict[str, Any]:
    """Options of the modules that lead to the bucket over the slow line."""
    return options(dataclasses.replace(settings, endpoint_url=slow.url))


def importing(through: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Bring a model",
        "legionio.ollama.ollama_s3_import": {
            **through,
            "name": "tiny:1b",
            "models_path": f"{folder}/{{{{ inventory_hostname }}}}",
            "progress_interval": 1,
            **changes,
        },
    }


def assert_shown(play: Play, *hosts: str, what: str = "tiny:1b") -> None:
    """Check the progress lines of each host: complete, live, growing, on the error stream."""
    for _time, text in play.shown:
        assert LINE.fullmatch(text), f"not a line of its own: {text!r}"
    assert not [text for _time, text in play.stdout if "progress: [" in text]
    for host in hosts:
        mine = [(when, LINE.fullmatch(text)) for when, text in play.shown if f"[{host}]" in text]
        assert mine, f"nothing was shown for {host}:\n{play.output}"
        assert {match["what"] for _when, match in mine if match} == {what}
        percents = [int(match["percent"]) for _when, match in mine if match]
        assert percents == sorted(percents)
        assert mine[0][0] < play.ended - 1, "the first line came when all was over"


def assert_clean(spool: Path) -> None:
    assert list(spool.iterdir()) == [], "something was left on the target"


@pytest.mark.usefixtures("model")
@pytest.mark.every_version
def test_progress_of_two_hosts_at_once_names_both(
    play: Any, through: Any, folder: Path, spool: Path, core: Path, model: Model
) -> None:
    hosts = {name: {"ansible_connection": "local"} for name in ("gpu-01", "gpu-02")}
    done = play([importing(through, folder)], "--forks", "2", hosts=hosts, core=core).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "gpu-01", "gpu-02")
    for host in hosts:
        result = done.result(host)
        assert result["changed"] is True and result["blobs_downloaded"] == 3
        assert "progress_files" not in str(result).lower()
        assert_sound(folder / host, model)
    assert_clean(spool)


@pytest.mark.parametrize("pipelining", [False, True], ids=["files", "pipelining"])
def test_progress_over_ssh_as_another_user_is_shown(
    play: Any, through: Any, folder: Path, spool: Path, core: Path, model: Model, ssh: sshd.SshServer, pipelining: bool
) -> None:
    hosts = {
        name: {
            **ssh.variables,
            "ansible_pipelining": pipelining,
            "ansible_become": True,
            "ansible_become_method": "su",
            "ansible_become_user": "nobody",
            # Its shell is not a shell, and its home is not a folder.
            "ansible_become_flags": "-s /bin/sh",
            "ansible_remote_tmp": f"{folder}/{name}-tmp",
        }
        for name in ("gpu-01", "gpu-02")
    }
    done = play([importing(through, folder)], hosts=hosts, core=core).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "gpu-01", "gpu-02")
    for host in hosts:
        assert_sound(folder / host, model)
        assert (folder / host).owner() == "nobody"
    assert_clean(spool)


def test_progress_over_ssh_as_root_is_shown(
    play: Any, through: Any, folder: Path, spool: Path, model: Model, ssh: sshd.SshServer
) -> None:
    done = play([importing(through, folder)], hosts={"node": ssh.variables}).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "node")
    assert_clean(spool)


def test_progress_in_a_podman_container_as_another_user_is_shown(
    play: Any, through: Any, folder: Path, core: Path, model: Model
) -> None:
    with container.container(folder) as host:
        variables = {
            **host.variables,
            "ansible_become": True,
            "ansible_become_method": "su",
            "ansible_become_user": "nobody",
            "ansible_become_flags": "-s /bin/sh",
            "ansible_remote_tmp": "/tmp/ansible",
        }
        done = play([importing(through, folder)], hosts={"node": variables}, core=core, env=host.environment).wait()
        assert done.process.returncode == 0, done.output
        assert_shown(done, "node")
        assert_sound(folder / "node", model)
        assert (folder / "node").owner() == "nobody"
        assert host.spool() == []


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    "changes, task",
    [
        ({"progress": False}, {}),
        ({}, {"no_log": True}),
        ({}, {"async": 100, "poll": 1}),
        ({}, {"check_mode": True}),
        ({}, {"module_defaults": {"group/legionio.ollama.progress": {"progress": False}}}),
    ],
    ids=["off", "no_log", "async", "check", "module_defaults"],
)
def test_progress_turned_off_is_not_shown(
    play: Any, through: Any, folder: Path, spool: Path, changes: Any, task: Any
) -> None:
    done = play([{**importing(through, folder, **changes), **task}]).wait()
    assert done.process.returncode == 0, done.output
    assert done.shown == []
    if "no_log" not in task:
        assert done.result()["changed"] is True and done.result()["blobs_downloaded"] == 3
    assert (folder / "node").exists() == ("check_mode" not in task)
    assert_clean(spool)


def test_quick_task_shows_no_progress(play: Any, settings: S3Settings, folder: Path, spool: Path) -> None:
    Model("tiny:1b", [b"weights", b"small"]).publish(Mirror(settings))
    done = play([importing(options(settings), folder)]).wait()
    assert done.process.returncode == 0 and done.shown == [], done.output
    assert_clean(spool)


@pytest.mark.usefixtures("model")
def test_failed_module_keeps_the_last_progress(
    play: Any, through: Any, slow: faulty_proxy.Proxy, folder: Path, spool: Path
) -> None:
    started = play([importing(through, folder, chunk_size="1M", concurrency=4)])
    started.wait_for_line()
    slow.rule = lambda request: faulty_proxy.Fault(status=403, code="AccessDenied")
    result = started.wait().result()
    assert result["error_code"] == "mirror_access_denied", result
    progress = result["progress"]
    assert progress["model"] == "tiny:1b" and 0 < progress["bytes"] < progress["bytes_total"]
    assert progress["percent"] == 100 * progress["bytes"] // progress["bytes_total"]
    assert_clean(spool)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.every_version
def test_killed_module_keeps_the_last_progress_and_leaves_nothing(
    play: Any, through: Any, folder: Path, spool: Path, number: signal.Signals, core: Path
) -> None:
    started = play([importing(through, folder)], core=core, env={"ANSIBLE_PIPELINING": "false"})
    started.wait_for_line()
    for module in modules_of(started):
        os.kill(module, number)
    result = started.wait().result()
    assert started.process.returncode == 2
    assert 0 < result["progress"]["bytes"] < result["progress"]["bytes_total"], result
    assert_clean(spool)


@pytest.mark.usefixtures("model")
def test_task_beyond_its_timeout_reports_its_progress(
    play: Any, through: Any, slow: faulty_proxy.Proxy, folder: Path
) -> None:
    slow.rule = lambda request: faulty_proxy.Fault(rate=100_000.0) if request.range else None
    done = play([{**importing(through, folder), "timeout": 15}]).wait()
    assert done.process.returncode == 2, done.output
    last = done.shown[-1][1]
    assert last.endswith("; it was interrupted") and LINE.fullmatch(last.rpartition(";")[0]), last


@pytest.mark.usefixtures("model")
def test_broken_connection_reports_the_last_progress(
    play: Any, through: Any, folder: Path, spool: Path, ssh: sshd.SshServer, core: Path
) -> None:
    variables = {**ssh.variables, "ansible_ssh_args": "-o ControlMaster=no"}
    started = play([importing(through, folder)], core=core, hosts={"node": variables})
    started.wait_for_line()
    for process in children_of(started.process.pid):
        if process[1].startswith("ssh ") and "AnsiballZ_" in process[1]:
            os.kill(process[0], signal.SIGTERM)
    done = started.wait()
    assert "UNREACHABLE!" in done.output
    assert done.shown[-1][1].endswith("; it was interrupted")
    deadline = time.monotonic() + 30
    while list(spool.iterdir()):
        assert time.monotonic() < deadline, "the module that nobody listens to any more has left its file"
        time.sleep(0.1)


@pytest.mark.usefixtures("model")
def test_target_without_a_usable_folder_shows_no_progress_and_succeeds(
    play: Any, through: Any, folder: Path, model: Model
) -> None:
    hosts = {"node": {"ansible_connection": "local", "ansible_system_tmpdirs": ["/proc/nowhere", f"{folder}/missing"]}}
    done = play([importing(through, folder)], hosts=hosts).wait()
    assert done.process.returncode == 0 and done.shown == [], done.output
    assert_sound(folder / "node", model)


def test_progress_of_a_sync_is_shown(play: Any, through: Any, folder: Path, spool: Path, model: Model) -> None:
    with services.ollama_server(folder / "node") as server:
        sync = {**through, "host": server.url, "name": "tiny:1b", "models_path": f"{folder}/node"}
        done = play([{"legionio.ollama.ollama_s3_sync": {**sync, "progress_interval": 1}}]).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "node")
    assert_sound(folder / "node", model)
    assert_clean(spool)


def test_progress_of_a_publish_is_shown(play: Any, through: Any, folder: Path, spool: Path) -> None:
    Model("big:1b", [random.randbytes(80 * MB)]).store(folder / "node")
    task = {
        "legionio.ollama.ollama_s3_publish": {
            **through, "name": "big:1b", "models_path": str(folder / "node"), "progress_interval": 1
        }
    }  # fmt: skip
    done = play([task]).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "node", what="big:1b")
    assert_clean(spool)


def test_progress_of_single_files_is_shown(play: Any, through: Any, folder: Path, spool: Path) -> None:
    (folder / "from.tgz").write_bytes(random.randbytes(50 * MB))
    file = {**through, "key": "releases/ollama.tgz", "progress_interval": 1}
    for there in ({"state": "published", "path": f"{folder}/from.tgz"}, {"path": f"{folder}/to.tgz"}):
        done = play([{"legionio.ollama.ollama_s3_file": {**file, **there}}]).wait()
        assert done.process.returncode == 0, done.output
        assert_shown(done, "node", what="releases/ollama.tgz")
    assert (folder / "to.tgz").read_bytes() == (folder / "from.tgz").read_bytes()
    assert_clean(spool)


OURS = "registry.example.com:5000/team/smollm2:135m"


@pytest.fixture
def registry(model_store: Path) -> Iterator[Registry]:
    """A registry behind a slow line, with the chat model of the lab."""
    with running_registry() as registry:
        registry.offer("registry.example.com:5000", "team/smollm2", "135m", model_store, ("smollm2", "135m"))
        registry.rate = 12.0 * MB
        yield registry


def test_progress_of_a_pull_and_a_push_is_shown(play: Any, registry: Registry, folder: Path, spool: Path) -> None:
    mine = "registry.example.com:5000/team/mine:latest"
    with services.ollama_server(env=registry.environment) as server:
        common = {"host": server.url, "insecure": True, "progress_interval": 1}
        for name, way in ((OURS, {}), (mine, {"source": OURS, "push": True})):
            if way:
                # Ollama asks whether the registry has a blob, and sends only what it lacks.
                registry.blobs.clear()
            done = play([{"legionio.ollama.ollama_model": {**common, **way, "name": name}}]).wait()
            assert done.process.returncode == 0, done.output
            assert_shown(done, "node", what=name)
    assert_clean(spool)


def test_progress_of_a_creation_is_shown(play: Any, model_store: Path, folder: Path, spool: Path) -> None:
    manifest = json.loads((model_store / "manifests/registry.ollama.ai/library/smollm2/135m").read_bytes())
    (digest,) = [layer["digest"] for layer in manifest["layers"] if layer["mediaType"].endswith(".model")]
    (folder / "tiny.gguf").symlink_to(model_store / "blobs" / digest.replace(":", "-"))
    with services.ollama_server() as server, slow_line(server.url, 12.0 * MB) as url:
        create = {"host": url, "name": "tiny", "create": {"files": {"tiny.gguf": f"{folder}/tiny.gguf"}}}
        done = play([{"legionio.ollama.ollama_model": {**create, "progress_interval": 1}}]).wait()
    assert done.process.returncode == 0, done.output
    assert_shown(done, "node", what="tiny:latest, tiny.gguf")
    assert_clean(spool)


def children_of(pid: int) -> list[tuple[int, str]]:
    """All processes below one, with their command lines."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    found: list[tuple[int, str]] = []
    parents = {str(pid)}
    while True:
        more = [row for row in rows if row[1] in parents and row[0] not in parents]
        if not more:
            return found
        parents |= {row[0] for row in more}
        found += [(int(row[0]), row[2]) for row in more]


def modules_of(play: Play) -> list[int]:
    """The processes of the module."""
    found = [
        pid for pid, command in children_of(play.process.pid) if "AnsiballZ_" in command and "sh -c" not in command
    ]
    assert found, children_of(play.process.pid)
    return found


def test_progress_file_is_readable_only_for_its_user(
    play: Any, through: Any, folder: Path, spool: Path, model: Model
) -> None:
    started = play([importing(through, folder)])
    started.wait_for_line()
    (file,) = spool.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert time.time() - file.stat().st_mtime < 30
    started.wait()
    assert_clean(spool)
