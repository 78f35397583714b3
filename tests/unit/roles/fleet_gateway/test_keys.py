# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and what they may do."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from fleet_gateway.domain.allowance import Allowances
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.http.body import model_of
from fleet_gateway.http.keyholder import keyholder
from fleet_gateway.settings.keys import PREFIX, ApiKeys, KeyConfig, hash_of, new_key
from fleet_gateway.settings.sections import ConfigError

KEY, HASH = new_key()


def key(**settings: Any) -> KeyConfig:
    return KeyConfig(name="alice", hash=HASH, **settings)


def ring(tmp_path: Path, text: str) -> ApiKeys:
    path = tmp_path / "keys.yml"
    path.write_text(text)
    return ApiKeys(str(path))


def scope(**headers: str) -> dict[str, Any]:
    return {"headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}


def test_new_key_is_random_and_only_its_hash_is_stored() -> None:
    other, other_hash = new_key()
    assert KEY.startswith(PREFIX) and len(KEY) > 40
    assert other != KEY and other_hash != HASH
    assert hash_of(KEY) == HASH and KEY not in HASH


def test_ring_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    assert keys.find(KEY) is not None
    assert not keys.refresh()
    (tmp_path / "keys.yml").write_text("keys: []")
    os.utime(tmp_path / "keys.yml", ns=(1, 1))
    assert keys.refresh()
    assert keys.find(KEY) is None


@pytest.mark.parametrize(
    "text, problem",
    [
        ("keys: [{name: alice}]", "hash"),
        ("keys: [{name: alice, hash: plain}]", "hash"),
        (f"keys: [{{name: a, hash: '{HASH}'}}, {{name: b, hash: '{HASH}'}}]", "two keys have the hash"),
        (f"keys: [{{name: a, hash: '{HASH}', models: ['']}}]", "models"),
        ("[]", "not a mapping"),
    ],
)
def test_ring_of_a_wrong_file_is_refused_and_keeps_what_it_had(tmp_path: Path, text: str, problem: str) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    (tmp_path / "keys.yml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        keys.refresh()
    assert keys.find(KEY) is not None


@pytest.mark.parametrize(
    "patterns, model, allowed",
    [
        (["*"], "llama3", True),
        (["llama3*"], "LLAMA3:8b", True),
        (["llama3*"], "qwen3", False),
        ([], "llama3", False),
        (["*"], "no model : name", True),
        (["n*"], "no model : name", False),
    ],
)
def test_allows_follows_the_patterns(patterns: list[str], model: str, allowed: bool) -> None:
    assert key(models=patterns).allows(model) is allowed


def test_keyholder_takes_the_headers_of_each_interface(tmp_path: Path) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    assert keyholder(scope(authorization=f"Bearer {KEY}"), keys).name == "alice"
    assert keyholder(scope(authorization=f"bearer  {KEY} "), keys).name == "alice"
    assert keyholder(scope(x_api_key=KEY), keys).name == "alice"
    assert keyholder(scope(), None).name == "anybody"


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": "Bearer flg_wrong"}, 401),
        ({"x_api_key": KEY + "x"}, 401),
        ({"authorization": "Bearer \xff"}, 401),
    ],
)
def test_keyholder_without_a_good_key_is_refused(tmp_path: Path, headers: Any, status: int) -> None:
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}'}}]")
    with pytest.raises(GatewayError) as refused:
        keyholder(scope(**headers), keys)
    assert refused.value.status == status


def test_keyholder_with_an_expired_key_is_refused_from_the_day_after(tmp_path: Path) -> None:
    today = date.today()
    assert not key(expires=today + timedelta(days=1)).is_expired
    assert key(expires=today - timedelta(days=2)).is_expired
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}', expires: 2020-01-01}}]")
    with pytest.raises(GatewayError) as refused:
        keyholder(scope(x_api_key=KEY), keys)
    assert (refused.value.status, refused.value.code) == (403, "expired_key")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_request_beyond_those_at_a_time_is_refused_until_one_ends() -> None:
    allowances = Allowances(lambda _name: 0)
    limited = key(concurrent=1)
    with allowances.request(limited):
        with pytest.raises(GatewayError) as refused:
            with allowances.request(limited):
                pass
        assert (refused.value.status, refused.value.retry_after) == (429, 1.0)
    with allowances.request(limited):
        assert allowances.running("alice") == 1
    assert allowances.running("alice") == 0


def test_request_beyond_those_a_minute_says_when_there_is_room() -> None:
    clock = Clock()
    allowances = Allowances(lambda _name: 0, clock)
    limited = key(per_minute=2)
    for _number in range(2):
        with allowances.request(limited):
            clock.now += 10
    with pytest.raises(GatewayError) as refused:
        with allowances.request(limited):
            pass
    assert refused.value.retry_after == 40
    clock.now += 40
    with allowances.request(limited):
        pass


def test_request_beyond_the_tokens_of_a_day_waits_for_midnight() -> None:
    used = {"alice": 99}
    allowances = Allowances(lambda name: used[name])
    with allowances.request(key(tokens_per_day=100)):
        used["alice"] = 100
    with pytest.raises(GatewayError) as refused:
        with allowances.request(key(tokens_per_day=100)):
            pass
    assert refused.value.retry_after is not None and 1 <= refused.value.retry_after <= 86400


def test_ring_is_read_again_when_the_permissions_of_the_file_change(tmp_path: Path) -> None:
    """A file that the gateway could not read has the same content, size and time afterwards."""
    keys = ring(tmp_path, "keys: []")
    (tmp_path / "keys.yml").chmod(0o640)
    assert keys.refresh()


def test_allows_keeps_no_long_name_in_memory() -> None:
    with pytest.raises(GatewayError) as caught:
        model_of({"model": "x" * 2000})
    assert caught.value.status == 404
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("document", [{}, {"model": " "}, {"model": 5}])
def test_model_of_a_request_without_a_model_is_refused_with_the_code_of_openai(document: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        model_of(document)
    assert (caught.value.status, caught.value.code) == (400, "missing_required_parameter")
