# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is given the page and the state that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest
import yaml
from fleet_gateway.http.page import FOLDER
from fleet_gateway.settings.keys import ApiKeys, new_key

from .memory_front import CHAT, MODEL, Client, Front, run

KEY, HASH = new_key()


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    (tmp_path / "keys.yml").write_text(yaml.safe_dump({"keys": [{"name": "alice", "hash": HASH}]}))
    return ApiKeys(str(tmp_path / "keys.yml"))


async def got(front: Front, path: str, key: Optional[str] = None, **headers: str) -> Client:
    given = {} if key is None else {"authorization": f"Bearer {key}"}
    client = Client(path, method="GET", **given, **headers)
    await front.ask(client)
    return client


def test_page_is_for_who_accepts_html(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        assert (await got(front, "/")).body == b"Ollama is running"
        page = await got(front, "/", accept="text/html")
        assert page.body == (FOLDER / "index.html").read_bytes()
        assert page.headers["content-type"] == "text/html; charset=utf-8"

    run(test())


def test_page_files_have_a_strict_policy_and_are_asked_for_again(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        for path in ("/page/page.js", "/page/page.css", "/page/icon.svg", "/page/state"):
            found = await got(front, path)
            policy = found.headers["content-security-policy"]
            assert found.status == 200
            assert policy.startswith("default-src 'none'") and "unsafe" not in policy
            assert found.headers["x-content-type-options"] == "nosniff"
        tag = (await got(front, "/page/page.js")).headers["etag"]
        assert (await got(front, "/page/page.js", if_none_match=tag)).status == 304
        assert (await got(front, "/page/__init__.py")).status == 404

    run(test())


def test_page_has_no_script_or_style_in_its_html() -> None:
    html = (FOLDER / "index.html").read_text()
    assert html.count("<script") == 1 and 'src="page/page.js"' in html
    assert (
        "<style" not in html and " style=" not in html and "onclick" not in html and "//" not in html.split("<body>")[1]
    )
    assert "innerHTML" not in (FOLDER / "page.js").read_text()


def test_state_wants_a_key_where_there_are_keys(tmp_path: Path, keys: ApiKeys) -> None:
    async def test() -> None:
        front = Front(tmp_path, keys=keys)
        front.serve()
        assert (await got(front, "/page/state")).status == 401
        assert (await got(front, "/page/state", "flg_wrong")).status == 401
        state = (await got(front, "/page/state", KEY)).document
        assert state["viewer"] == {"key": "alice", "operator": False}
        assert [model["name"] for model in state["models"]] == [MODEL]
        # The files themselves tell nothing of the fleet.
        assert (await got(front, "/", accept="text/html")).status == 200

    run(test())


def test_state_of_an_open_page_is_for_everybody(tmp_path: Path, keys: ApiKeys) -> None:
    async def test() -> None:
        front = Front(tmp_path, keys=keys, page="open")
        front.serve()
        state = (await got(front, "/page/state")).document
        assert state["viewer"] == {"key": "", "operator": False}
        assert [model["name"] for model in state["models"]] == [MODEL]
        assert (await got(front, "/page/state", "flg_wrong")).status == 401
        assert (await got(front, "/page/state", KEY)).document["viewer"]["key"] == "alice"

    run(test())


def test_disabled_page_is_not_there(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, page="disabled")
        assert (await got(front, "/", accept="text/html")).body == b"Ollama is running"
        assert (await got(front, "/page/state")).status == 404

    run(test())


def test_state_has_a_request_with_its_node_and_its_tokens(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        asked = front.ask(Client("/api/chat", CHAT))
        message = await front.published()
        [under_way] = (await got(front, "/page/state")).document["under_way"]
        assert (under_way["key"], under_way["model"], under_way["stage"]) == ("anybody", MODEL, "sent")
        front.piece(message, 0, b"{}")
        front.end(message, 1)
        await asked
        state = (await got(front, "/page/state")).document
        [ended] = state["ended"]
        assert (ended["node"], ended["status"], ended["input_tokens"], ended["output_tokens"]) == ("gpu-01", 200, 3, 2)
        assert state["under_way"] == [] and "Hello" not in str(state)

    run(test())
