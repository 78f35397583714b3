# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: valid values, and the errors for wrong ones."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet_worker import __file__ as package_file
from fleet_worker import __version__
from fleet_worker.domain.lane_terms import USUAL, LaneTerms
from fleet_worker.settings.config import Config, load, parse
from fleet_worker.settings.lanes import configured_lanes
from fleet_worker.settings.sections import ConfigError, checked
from fleet_worker.updates.config import UpdatesConfig, broadcast_admission, signature_policy

SOURCES = Path(package_file).parents[1]

MINIMAL: dict[str, Any] = {
    "broker": {"addresses": ["hub:5672"]},
    "lanes": [{"type": "chat", "model": "smollm2:135m"}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    place: Any = content
    for parent in parents:
        place = place[int(parent)] if parent.isdigit() else place.setdefault(parent, {})
    place[last] = value
    return content


def test_defaults() -> None:
    config = parse(MINIMAL)
    assert config.node == socket.gethostname()
    assert (config.broker.vhost, config.broker.username, config.broker.heartbeat) == ("/", "fleet-worker", 30)
    assert (config.concurrency, config.drain_timeout) == (2, 300)
    assert (config.exchanges, config.legacy_reply_exchange) == (["llm.request"], None)
    assert config.max_reply_bytes == 1048576
    assert (config.ollama.host, config.ollama.connect_timeout) == ("http://127.0.0.1:11434", 10)
    assert config.metrics.listen == "127.0.0.1:9469"
    assert (config.registry.enabled, config.registry.heartbeat_interval) == (True, 30)
    assert (config.log.format, config.log.level) == ("logfmt", "info")


def test_everything_at_once(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "node": "gpu-01",
                "broker": {
                    "addresses": ["hub-1", "hub-2:5671", "[fd00::1]:5671"],
                    "vhost": "legion",
                    "username": None,
                    "heartbeat": 10,
                    "tls": {
                        "ca_path": "/ca.pem",
                        "client_cert": "/c.pem",
                        "client_key_credential": "key",
                        "validate": True,
                    },
                },
                "ollama": {
                    "host": "https://gpu:443/ollama",
                    "connect_timeout": 5,
                    "headers": {"X": "y"},
                    "patience": 0,
                },
                "concurrency": 8,
                "drain_timeout": 60,
                "exchanges": ["llm.request", "llm.fleet"],
                "legacy_reply_exchange": "agent",
                "lanes": [
                    {"type": "chat", "model": "a", "style": "shared", "context_window": 4096, "deadline": 100},
                    {"type": "embed", "model": "a", "style": "offering", "priority": -3, "consumer_priority": 10},
                    {"type": "embed", "model": "a", "keep_alive": -1, "option_ranges": {"num_predict": [1, 64]}},
                ],
                "log": {"format": "json", "level": "debug"},
            }
        )
    )
    lanes = configured_lanes(load(str(path)))
    assert [served.queue for served in lanes] == [
        "llm.fleet.inference.a.ctx4096",
        "llm.fleet.offering.gpu-01.a.embed",
        "llm.request.ollama.embed.a",
    ]
    assert [served.deadline for served in lanes] == [100, 280, 1500]
    assert lanes[0].priority < lanes[2].priority
    assert (lanes[1].priority, lanes[1].consumer_priority) == (-3, 10)
    assert [served.terms for served in lanes] == [USUAL, USUAL, LaneTerms(-1, (("num_predict", 1, 64),))]
    assert len({*lanes}) == 3


@pytest.mark.parametrize(
    "path, value, problem",
    [
        ("concurency", 3, "concurency: is not a known key; correct its name or remove it"),
        ("concurrency", 0, "concurrency: input should be greater than or equal to 1, and it is 0; correct it"),
        ("broker.addresses", [], "broker.addresses: list should have at least 1 item"),
        (
            "broker.addresses",
            ["hub:x"],
            "broker.addresses: 'hub:x' is not the address of a broker; Write it as host[:port]",
        ),
        ("broker.heartbeat", 1, "broker.heartbeat: input should be greater than or equal to 5"),
        ("broker.username", None, "broker: has neither a username nor tls.client_cert; set one of them"),
        ("broker.password", "s3cret", "broker.password: is not a known key"),
        ("broker.tls.client_key_credential", "k", "broker.tls: client_key_credential needs client_cert; add"),
        ("broker.tls.client_key_credential", "../k", "broker.tls.client_key_credential: string should match pattern"),
        ("ollama.host", "ftp://x", "ollama.host: 'x' is not the address of an Ollama server"),
        ("lanes", [], "lanes: is empty; list at least one lane, or set lanes to auto"),
        ("lanes", "all", "lanes: input should be a valid list"),
        ("auto_lanes", {"styles": []}, "auto_lanes.styles: list should have at least 1 item"),
        ("model_concurrency", {"a/b/c/d": 1}, "model_concurrency: 'a/b/c/d' is not a model name; Write it as"),
        ("lanes.0.type", "rerank", "lanes.0.type: input should be 'chat', 'generate' or 'embed', and it is 'rerank'"),
        ("lanes.0.model", "a/b/c/d", "lanes: 'a/b/c/d' is not a model name; Write it as"),
        ("lanes.0.context_window", 4096, "lanes: The lane for smollm2:135m has a context window"),
        ("lanes.1", None, "lanes.1"),
        ("lanes.0.keep_alive", "soon", "lanes.0.keep_alive: keep_alive is 'soon'; Give a number of seconds"),
        ("lanes.0.keep_alive", True, "lanes.0.keep_alive"),
        ("lanes.0.keep_alive", float("inf"), "lanes.0.keep_alive"),
        ("lanes.0.option_ranges", {"stop": [1, 2]}, "lanes.0.option_ranges: stop is not an option with a range"),
        ("lanes.0.option_ranges", {"seed": [2, 1]}, "lanes.0.option_ranges: the range of seed begins with 2, above"),
        ("lanes.0.option_ranges", {"seed": [1]}, "lanes.0.option_ranges.seed: list should have at least 2 items"),
        ("lanes.0.option_ranges", {"seed": [1, float("inf")]}, "lanes.0.option_ranges.seed.1"),
        ("exchanges", ["a", "a"], "exchanges: lists an exchange twice; remove one"),
        ("status_socket", "status", "status_socket: string should match pattern"),
        ("metrics.listen", "9469", "metrics.listen: '9469' is not host:port; write it like 127.0.0.1:9469, or null"),
        ("registry.heartbeat_interval", 0, "registry.heartbeat_interval: input should be greater than or equal to 1"),
        ("log.level", "loud", "log.level: input should be 'debug'"),
    ],
)
def test_problem_names_its_key_and_a_remedy(path: str, value: Any, problem: str) -> None:
    if path == "lanes.1":
        content = copy.deepcopy(MINIMAL)
        content["lanes"].append({"model": "x"})
        problem = "lanes.1.type: is missing; add it"
    else:
        content = changed(path, value)
    with pytest.raises(ConfigError) as caught:
        parse(content)
    assert any(one.startswith(problem) for one in caught.value.problems), caught.value.problems
    assert all("; " in one for one in caught.value.problems)


def test_a_deadline_must_leave_the_broker_time() -> None:
    shared = {"type": "chat", "model": "a", "style": "shared"}
    assert parse({**MINIMAL, "lanes": [{**shared, "deadline": 290}]})
    with pytest.raises(ConfigError, match=r"takes a request back after 300 s; set 290 or less"):
        parse({**MINIMAL, "lanes": [{**shared, "deadline": 291}]})


def test_lanes_that_collide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a:b and a\.b are both the queue"):
        parse({**MINIMAL, "lanes": [{"type": "chat", "model": "a:b"}, {"type": "chat", "model": "a.b"}]})


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("- a", "is not a mapping"),
        ("", "is not a mapping"),
        (b"\xff", "cannot be read"),
    ],
)
def test_load_unreadable_or_malformed_file_is_refused(tmp_path: Path, content: Any, problem: str) -> None:
    path = tmp_path / "worker.yml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert caught.value.problems[0].startswith(f"{path}: {problem}")


def command(*arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "fleet_worker", *arguments],
        check=False,
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_config_says_what_is_wrong_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(yaml.safe_dump({**MINIMAL, "x": 1, "concurrency": "two"}))
    done = command("check-config", "--config", str(path))
    assert (done.returncode, done.stderr) == (2, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["concurrency", "x"]
    path.write_text(yaml.safe_dump(MINIMAL))
    done = command("check-config", "--config", str(path))
    assert (done.returncode, done.stdout) == (0, f"{path}: 1 lanes, nothing wrong\n")


def test_the_version_is_that_of_the_collection() -> None:
    galaxy = yaml.safe_load((SOURCES.parents[2] / "galaxy.yml").read_text())
    assert command("version").stdout.strip() == __version__ == galaxy["version"]


def test_status_without_a_worker_says_so(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(yaml.safe_dump({**MINIMAL, "status_socket": str(tmp_path / "none.sock")}))
    done = command("status", "--config", str(path))
    assert done.returncode == 1
    assert "No worker answers at" in done.stdout and "No such file" in done.stdout


def test_run_without_its_credential_says_which(tmp_path: Path) -> None:
    path = tmp_path / "worker.yml"
    path.write_text(yaml.safe_dump(MINIMAL))
    done = command("run", "--config", str(path))
    assert done.returncode == 78
    assert "The credential broker-password is not there" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_configuration_cannot_be_changed() -> None:
    config = parse(MINIMAL)
    assert isinstance(config, Config)
    with pytest.raises(ValueError, match="frozen"):
        config.concurrency = 3


@pytest.mark.parametrize("headers", [{"X-Price": "5 \u20ac"}, {"X-Price": "a\nb"}, {"X-Price:": "a"}])
def test_config_with_an_ollama_header_that_cannot_be_sent_names_the_header(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="X-Price"):
        parse(changed("ollama.headers", headers))


NAMED = ["node", "broker.vhost", "broker.username", "legacy_reply_exchange", "exchanges", "reply_queues"]


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("value", ["é" * 128, "x" * 256, "a\nb", "a\x1b[2J", "a\u202eb", "", "a\0"])
def test_name_that_amqp_cannot_carry_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed(key, [value] if key in ("exchanges", "reply_queues") else value))
    assert str(caught.value).startswith(key)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", NAMED)
def test_name_of_255_bytes_passes(key: str) -> None:
    value = "é" * 127 + "x"
    parse(changed(key, [value] if key in ("exchanges", "reply_queues") else value))


UPDATES: dict[str, Any] = {
    "node": "gpu-01",
    "broker": {"addresses": ["hub"]},
    "mirror": {"bucket": "b"},
    "models_path": "/m",
    "models": ["llama3*"],
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"node": "---"}, "node: The node name '---' cannot be part of a queue"),
        ({"node": "x" * 250}, "node: The node name"),
        ({"exchange": "é" * 128}, "exchange: it has 256 bytes"),
        ({"models": ["a/b/c/d"]}, "models.0: No model name can match the pattern"),
        ({"models": []}, "models"),
        ({"reply_queues": ["a\n"]}, "reply_queues.0"),
        ({"mirror": {"bucket": "b", "endpoint_url": "http://user:s3cret@s3"}}, "mirror.endpoint_url: it has a user"),
    ],
)
def test_updates_that_cannot_work_are_refused(change: dict[str, Any], message: str) -> None:
    checked(UpdatesConfig, UPDATES)
    with pytest.raises(ConfigError) as caught:
        checked(UpdatesConfig, {**UPDATES, **change})
    assert str(caught.value).startswith(message)
    assert "s3cret" not in str(caught.value)


def test_updates_with_keys_that_check_nothing_need_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """The role installs the package only for a policy that checks signatures."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    unused = {"policy": "off", "keys": ["-----BEGIN PUBLIC KEY-----"]}
    config = checked(UpdatesConfig, {**UPDATES, "signatures": unused, "broadcasts": unused})
    assert not signature_policy(config).demands and broadcast_admission(config)


def test_broker_address_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed("broker.addresses", ["amqp://user:s3cret@hub:5672"]))
    assert "s3cret" not in str(caught.value)
    assert "hub:5672" in str(caught.value)
