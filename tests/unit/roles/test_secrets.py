# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret of a role stands where others read it: in the environment or the arguments of a task, in a message, in a
label, or in a file that is not for root alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"

#: What is known of a secret and no secret itself: its length, whether it is there, an address without its login, and
#: the words of a plan, which name users and not their passwords.
HARMLESS = (
    r"\b{name}\.(?:problems|changes)\b|"
    r"\b{name}\b\s*(?:\.items\(\)|\.keys\(\))?\s*(?:\)\s*)?"
    r"(?:\|\s*(?:length|regex_replace\('\(\?s\)\^\.\*@)|is search)"
)

#: Values that are refused, each with a password.
WRONG: dict[str, dict[str, Any]] = {
    "fleet_worker": {
        "fleet_worker_broker_addresses": ["amqp://user:s3cret@hub:5672", "amqp://user:s3cret with a space@hub"],
        "fleet_worker_ollama_host": "http://user:s3cret with\na line@gpu:11434",
        "fleet_worker_updates_s3_endpoint_url": "http://user:s3cret@s3",
        "fleet_worker_ollama_headers": {"A": "s3cret\n"},
        "fleet_worker_index_url": "https://user:s3cret @pypi",
        "fleet_worker_cluster_secret": "s3cret",
    },
    "ollama_server": {"ollama_server_url": "ftp://user:s3cret@host/ollama.tgz?sign=s3cret"},
}

#: Where a task shows a value to others: environment and arguments of a process, messages, labels.
SHOWN = ("environment", "argv", "cmd", "msg", "fail_msg", "success_msg", "label", "_raw_params")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def secrets_of(role: str) -> set[str]:
    options = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return {name for name, option in options.items() if option.get("no_log")}


@pytest.mark.parametrize("path", sorted(ROLES.glob("*/meta/argument_specs.yml")), ids=lambda path: path.parts[-3])
def test_variable_that_can_have_a_password_is_declared_as_a_secret(path: Path) -> None:
    options = load(path)["argument_specs"]["main"]["options"]
    secret = re.compile(r".*_(password|secret|secret_key|session_token|find_links|index_url)")
    assert [name for name, option in options.items() if secret.fullmatch(name) and not option.get("no_log")] == []


def mentions(text: str, names: set[str]) -> set[str]:
    """Return which of the names a text uses as values, not only by their length and the like."""
    found = set()
    for name in names:
        left = re.sub(HARMLESS.replace("{name}", name), "", text)
        if re.search(rf"\b{name}\b", left):
            found.add(name)
    return found


def tainted(variables: Mapping[str, Any], names: set[str]) -> set[str]:
    """Return the names, and those of the variables that are made of them."""
    while True:
        more = {name for name, value in variables.items() if name not in names and mentions(str(value), names)}
        if not more:
            return names
        names = names | more


def tasks_of(content: Any) -> Iterator[Mapping[str, Any]]:
    for task in content or ():
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part))


def shown_by(value: Any) -> Iterator[str]:
    """Yield the texts of a task that others can read."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key in SHOWN or str(key).endswith((".command", ".shell")):
                yield str(one)
            elif key not in ("block", "rescue", "always"):
                yield from shown_by(one)
    elif isinstance(value, list):
        for one in value:
            yield from shown_by(one)


def leaks(role: str, names: set[str]) -> list[str]:
    variables = {
        name: value
        for part in ("defaults", "vars")
        for name, value in load(ROLES / role / part / "main.yml").items()
        if not name.endswith(("_problems", "_rules"))
    }
    found = []
    for path in sorted((ROLES / role).glob("*/*.yml")):
        if path.parent.name not in ("tasks", "handlers"):
            continue
        content = list(tasks_of(load(path)))
        # A block's variables hold for the tasks in it.
        local = {name: value for task in content for name, value in (task.get("vars") or {}).items()}
        known = tainted({**variables, **local}, names)
        for task in content:
            for text in shown_by(task):
                found += [f"{path.parent.name}/{path.name}: {task.get('name')}: {one}" for one in mentions(text, known)]
    return found


@pytest.mark.parametrize("role", ["fleet_broker", "fleet_gateway", "fleet_worker", "ollama_models", "ollama_server"])
def test_no_task_shows_a_secret(role: str) -> None:
    assert leaks(role, secrets_of(role)) == []


@pytest.mark.parametrize(
    "role, name",
    [
        ("fleet_worker", "fleet_worker_index_url"),
        ("fleet_worker", "fleet_worker_find_links"),
        ("fleet_worker", "fleet_worker_ollama_headers"),
        ("fleet_worker", "fleet_worker_broker_password"),
        ("fleet_worker", "fleet_worker_cluster_secret"),
        ("fleet_worker", "fleet_worker_updates_s3_secret_key"),
        ("ollama_server", "ollama_server_s3_secret_key"),
    ],
)
def test_option_that_can_be_a_secret_is_marked(role: str, name: str) -> None:
    assert name in secrets_of(role)


def test_the_search_finds_a_secret_in_an_environment() -> None:
    task = {"name": "x", "environment": {"PIP_INDEX_URL": "{{ __url }}"}}
    known = tainted({"__url": "{{ fleet_worker_index_url }}"}, {"fleet_worker_index_url"})
    assert [mentions(text, known) for text in shown_by(task)] == [{"__url"}]
    assert mentions("{{ fleet_worker_index_url | length > 0 }}", known) == set()


@pytest.mark.parametrize("role, wrong", WRONG.items())
def test_messages_show_no_login_of_an_address(role: str, wrong: dict[str, Any], evaluate: Any) -> None:
    problems = evaluate(role, f"__{role}_problems", **wrong)
    names = [name for name in wrong if any(name in problem for problem in problems)]
    assert names == list(wrong)
    assert "s3cret" not in str(problems)


@pytest.mark.parametrize(
    "url, plain, login",
    [
        ("https://host/a.tgz", "https://host/a.tgz", ""),
        ("https://user:p%40ss@host/a.tgz", "https://host/a.tgz", "user:p%40ss"),
    ],
)
def test_login_of_the_download_is_no_part_of_its_url(url: str, plain: str, login: str, evaluate: Any) -> None:
    def value(name: str) -> Any:
        return evaluate("ollama_server", name, ollama_server_url=url)

    assert (value("__ollama_server_plain_url"), value("__ollama_server_login")) == (plain, login)


def test_headers_for_ollama_are_no_part_of_the_configuration(render: Any) -> None:
    options = {
        "fleet_worker_broker_addresses": ["hub:5672"],
        "fleet_worker_broker_password": "s3cret",
        "fleet_worker_lanes": [{"type": "chat", "model": "smollm2:135m"}],
        "fleet_worker_ollama_headers": {"Authorization": "Bearer s3cret"},
    }
    text = render("fleet_worker", "fleet-worker.yml.j2", **options)
    assert "s3cret" not in text
    assert yaml.safe_load(text)["ollama"]["headers_credential"] == "ollama-headers"
    more = {"__fleet_worker_tree": {"digest": "0" * 16}, "__fleet_worker_interpreter": {"stdout": "cp311-x86_64"}}
    unit = render("fleet_worker", "fleet-worker.service.j2", **options, **more)
    assert "LoadCredential=ollama-headers:/etc/legionio/credentials/fleet-worker/ollama-headers" in unit


def test_the_cluster_secret_is_no_part_of_the_configuration(render: Any) -> None:
    options = {
        "fleet_worker_broker_addresses": ["hub:5672"],
        "fleet_worker_broker_password": "x",
        "fleet_worker_lanes": [{"type": "chat", "model": "smollm2:135m"}],
        "fleet_worker_cluster_secret": "s3cret" * 11,
    }
    text = render("fleet_worker", "fleet-worker.yml.j2", **options)
    assert "s3cret" not in text
    protocol = yaml.safe_load(text)["protocol"]
    assert (protocol["secret_credential"], protocol["tokens"]) == ("cluster-secret", None)
    more = {"__fleet_worker_tree": {"digest": "0" * 16}, "__fleet_worker_interpreter": {"stdout": "cp311-x86_64"}}
    unit = render("fleet_worker", "fleet-worker.service.j2", **options, **more)
    assert "LoadCredential=cluster-secret:/etc/legionio/credentials/fleet-worker/cluster-secret" in unit


def test_pip_takes_its_sources_from_the_file_of_the_role(tmp_path: Path) -> None:
    """As the task does it, with variables of the play that must not count."""
    (tmp_path / "links").mkdir()
    config = tmp_path / "sources.conf"
    config.write_text(f"[install]\nno-index = true\nfind-links = {tmp_path}/links\n")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-input", "--verbose", "no-such-package-here"]
    environment = {
        "PIP_CONFIG_FILE": str(config),
        "PIP_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode != 0
    assert f"Looking in links: {tmp_path}/links" in done.stdout
    assert "index" not in done.stdout.lower() or "Looking in indexes" not in done.stdout


def test_task_that_writes_the_environment_of_ollama_shows_no_difference() -> None:
    """The password of a proxy may be in it."""
    tasks = [task for path in (ROLES / "ollama_server/tasks").glob("*.yml") for task in tasks_of(load(path))]
    writing = [task for task in tasks if "server.env" in str(task.get("ansible.builtin.template", ""))]
    assert [task.get("diff") for task in writing] == [False]
