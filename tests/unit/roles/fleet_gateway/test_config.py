# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's configuration, and the commands that need no gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet_gateway.cli import main
from fleet_gateway.exit_codes import EXIT_PROBLEMS
from fleet_gateway.settings.keys import hash_of

GOOD = {"broker": {"addresses": ["hub:5672"]}}


def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], **settings: Any) -> tuple[int, str]:
    path = tmp_path / "gateway.yml"
    path.write_text(yaml.safe_dump({**GOOD, **settings}))
    code = main(["check-config", "--config", str(path)])
    return code, capsys.readouterr().out


def test_check_config_of_a_good_file_says_where_it_listens(tmp_path: Path, capsys: Any) -> None:
    code, said = check(tmp_path, capsys)
    assert code == 0
    assert "listens at 127.0.0.1:11435, nothing wrong" in said


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"listen": "nowhere"}, "listen: 'nowhere' is not host:port"),
        ({"listen": "0.0.0.0:80"}, "there is no keys_file"),
        ({"deadline": 0}, "deadline"),
        ({"unknown": 1}, "unknown"),
        ({"broker": {"addresses": []}}, "broker.addresses"),
        ({"keys_file": "/no/such/file"}, "/no/such/file"),
        ({"cors_origins": ["example.com"]}, "cors_origins"),
    ],
)
def test_check_config_names_what_is_wrong(tmp_path: Path, capsys: Any, settings: Any, problem: str) -> None:
    code, said = check(tmp_path, capsys, **settings)
    assert code == 2
    assert problem in said


@pytest.mark.parametrize("name, code, said", [("alice", 0, "nothing wrong"), ("", 2, "keys.0.name")])
def test_check_keys_names_what_is_wrong(tmp_path: Path, capsys: Any, name: str, code: int, said: str) -> None:
    path = tmp_path / "keys.yml"
    path.write_text(yaml.safe_dump({"keys": [{"name": name, "hash": hash_of("x")}]}))
    assert main(["check-keys", str(path)]) == code
    assert said in capsys.readouterr().out


def test_keys_shows_a_key_once_with_its_entry(capsys: Any) -> None:
    assert main(["keys", "Alice Smith"]) == EXIT_PROBLEMS
    assert "Alice Smith" in capsys.readouterr().err
    assert main(["keys", "alice"]) == 0
    said = capsys.readouterr().out
    key = next(line.split()[1] for line in said.splitlines() if line.startswith("key:"))
    assert yaml.safe_load(said.partition("keys:\n")[2]) == [{"name": "alice", "hash": hash_of(key)}]


def test_status_without_a_gateway_says_so(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "gateway.yml"
    path.write_text(yaml.safe_dump({**GOOD, "listen": "127.0.0.1:9"}))
    assert main(["status", "--config", str(path)]) == 1
    assert "No gateway answers" in capsys.readouterr().out
