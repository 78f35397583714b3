# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key that a request is sent with."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.http.keyholder import keyholder
from fleet_gateway.settings.keys import ANYBODY

from .known_keys import HASH, KEY, key, ring

ALICE = f"keys: [{{name: alice, hash: '{HASH}'}}]"


def scope(**headers: str) -> dict[str, Any]:
    return {"headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x_api_key": KEY},
        {"x_api_key": f" {KEY}"},
        # A client of Anthropic's interface may have a password for a proxy, too.
        {"authorization": "Basic cGFzcw==", "x_api_key": KEY},
        {"authorization": "Bearer", "x_api_key": KEY},
    ],
)
def test_keyholder_headers_of_each_interface_name_the_key(tmp_path: Path, headers: dict[str, str]) -> None:
    assert keyholder(scope(**headers), ring(tmp_path, ALICE)).name == "alice"


def test_keyholder_gateway_without_keys_serves_anybody_with_any_header() -> None:
    assert keyholder(scope(), None) is ANYBODY
    assert keyholder(scope(authorization="Bearer flg_wrong"), None) is ANYBODY


@pytest.mark.parametrize(
    "headers, code",
    [
        ({}, "no_key"),
        ({"authorization": "Bearer"}, "no_key"),
        ({"authorization": "Bearer  "}, "no_key"),
        ({"authorization": f"Basic {KEY}"}, "no_key"),
        ({"authorization": KEY}, "no_key"),
        ({"x_api_key": " "}, "no_key"),
        ({"authorization": "Bearer flg_wrong"}, "unknown_key"),
        ({"x_api_key": KEY + "x"}, "unknown_key"),
        ({"authorization": "Bearer \xff"}, "unknown_key"),
        # The header of the first interface counts, so that a proxy can set it.
        ({"authorization": "Bearer flg_wrong", "x_api_key": KEY}, "unknown_key"),
    ],
)
def test_keyholder_request_without_a_known_key_is_refused(tmp_path: Path, headers: dict[str, str], code: str) -> None:
    with pytest.raises(GatewayError) as refused:
        keyholder(scope(**headers), ring(tmp_path, ALICE))
    assert (refused.value.status, refused.value.code) == (401, code)
    assert "flg_" not in refused.value.message


def test_keyholder_key_is_refused_from_the_day_after_its_last(tmp_path: Path) -> None:
    today = datetime.now(timezone.utc).date()
    assert not key(expires=today + timedelta(days=1)).is_expired
    assert key(expires=today - timedelta(days=1)).is_expired
    keys = ring(tmp_path, f"keys: [{{name: alice, hash: '{HASH}', expires: 2020-01-01}}]")
    with pytest.raises(GatewayError) as refused:
        keyholder(scope(x_api_key=KEY), keys)
    assert (refused.value.status, refused.value.code) == (403, "expired_key")
    assert "alice" in refused.value.message
