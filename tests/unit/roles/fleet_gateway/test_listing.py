# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway answers by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.registry import UNAVAILABLE, Offering
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.http.body import document_of
from fleet_gateway.settings.keys import ApiKeys, hash_of

from .memory_front import CHAT, MODEL, Client, Front, run


async def got(front: Front, path: str, method: str = "GET", body: Any = None, **options: Any) -> Client:
    client = Client(path, body, method, **options)
    await front.ask(client)
    return client


def test_lists_have_the_models_of_the_fleet_in_each_shape(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        tags = (await got(front, "/api/tags")).document
        assert [model["name"] for model in tags["models"]] == [MODEL]
        assert (await got(front, "/api/ps")).document == tags
        assert [one["id"] for one in (await got(front, "/v1/models")).document["data"]] == [MODEL]
        claude = (await got(front, "/v1/models", anthropic_version="2023-06-01")).document
        assert (claude["first_id"], claude["data"][0]["type"]) == (MODEL, "model")
        assert (await got(front, f"/v1/models/{MODEL}")).document["owned_by"] == "library"
        assert (await got(front, "/v1/models/other")).status == 404
        shown = (await got(front, "/api/show", "POST", {"model": MODEL})).document
        assert shown["capabilities"] == ["completion"]
        assert (await got(front, "/api/show", "POST", {"name": "other"})).status == 404

    run(test())


@pytest.mark.parametrize("name", ["M:1", "library/m:1", "registry.ollama.ai/library/m:1"])
def test_model_is_found_in_each_spelling(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        assert (await got(front, "/api/show", "POST", {"model": name})).document["name"] == MODEL
        assert (await got(front, f"/v1/models/{name}")).document["id"] == MODEL

    run(test())


def test_lists_and_models_without_a_broker_are_an_error(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.session.is_up = False
        for path, method, body in (
            ("/api/tags", "GET", None),
            ("/v1/models", "GET", None),
            ("/v1/models/m", "GET", None),
            ("/api/show", "POST", {"model": "m"}),
        ):
            client = await got(front, path, method, body)
            assert (client.status, client.headers["retry-after"]) == (503, "2")

    run(test())


def test_model_that_no_node_serves_now_is_not_called_unknown(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        front.exchange.take_registry_event(Offering(lane("chat", MODEL), "gpu-01", 2).event(UNAVAILABLE).message)
        assert (await got(front, "/api/show", "POST", {"model": MODEL})).status == 503

    run(test())


def test_lists_wait_for_the_first_announcement(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, node_timeout=20)
        asked = asyncio.ensure_future(got(front, "/api/tags"))
        await asyncio.sleep(0.01)
        front.serve()
        assert [model["name"] for model in (await asked).document["models"]] == [MODEL]

    run(test())


def test_error_for_an_unknown_model_names_only_models_of_the_key(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "keys.yml"
        path.write_text(f"keys: [{{name: alice, hash: '{hash_of('flg_right')}', models: ['n*']}}]")
        front = Front(tmp_path, keys=ApiKeys(str(path)))
        front.serve()
        key = {"authorization": "Bearer flg_right"}
        for path, body in (("/api/chat", {**CHAT, "model": "n:1"}), ("/api/show", {"model": "n:1"})):
            answer = await got(front, path, "POST", body, **key)
            assert (answer.status, answer.document["error"].endswith("served are: none")) == (404, True)
        assert (await got(front, "/api/show", "POST", {"model": MODEL}, **key)).status == 404

    run(test())


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/audio/speech"])
def test_unknown_path_is_an_error_of_the_interface(tmp_path: Path, path: str) -> None:
    async def test() -> None:
        answer = await got(Front(tmp_path), path)
        assert (answer.status, answer.document["error"]["code"]) == (404, "not_found")

    run(test())


def test_lists_of_an_empty_fleet_are_empty(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        assert (await got(front, "/v1/models", anthropic_version="x")).document == {"data": [], "has_more": False}

    run(test())


@pytest.mark.parametrize("path", ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/x"])
def test_request_that_would_change_a_node_is_refused(tmp_path: Path, path: str) -> None:
    async def test() -> None:
        assert (await got(Front(tmp_path), path, "POST", {})).status == 403

    run(test())


def test_health_readiness_and_version_are_said(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        assert (await got(front, "/healthz")).document == {"status": "ok"}
        assert (await got(front, "/readyz")).status == 200
        front.state = {"ready": False, "reason": "no broker"}
        assert (await got(front, "/readyz")).document == {"ready": False, "reason": "no broker"}
        assert (await got(front, "/api/version")).document["version"]
        assert (await got(front, "/")).status == 200

    run(test())


def test_status_and_metrics_are_for_this_machine_unless_they_are_opened(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        assert (await got(front, "/status")).document == front.state
        assert b"fleet_gateway_connected 1.0" in (await got(front, "/metrics")).body
        for path in ("/status", "/metrics"):
            assert (await got(front, path, host="192.0.2.7")).status == 403
            for host in ("::ffff:127.0.0.1", "192.0.2.8"):
                client = Client(path, None, "GET", host=host)
                client.scope["server"] = ("192.0.2.8", 11435)
                await front.ask(client)
                assert client.status == 200
        (tmp_path / "open").mkdir()
        opened = Front(tmp_path / "open", open_metrics=True)
        assert (await got(opened, "/metrics", host="192.0.2.7")).status == 200

    run(test())


def test_cross_origin_requests_are_off_until_an_origin_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        asked = {"origin": "https://chat.example.com"}
        assert "access-control-allow-origin" not in (await got(Front(tmp_path), "/healthz", **asked)).headers
        (tmp_path / "open").mkdir()
        opened = Front(tmp_path / "open", cors_origins=["https://chat.example.com"])
        headers = (await got(opened, "/healthz", **asked)).headers
        assert headers["access-control-allow-origin"] == "https://chat.example.com"

    run(test())


def test_carried_path_with_another_method_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        refused = await got(Front(tmp_path), "/api/chat", body=CHAT)
        assert (refused.status, refused.headers["allow"]) == (405, "POST")
        assert refused.document["error"] == "GET is not allowed for this path"

    run(test())


def test_version_is_for_everybody_but_not_with_a_wrong_key(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "keys.yml"
        path.write_text(f"keys: [{{name: alice, hash: '{hash_of('flg_right')}'}}]")
        front = Front(tmp_path, keys=ApiKeys(str(path)))
        assert (await got(front, "/api/version")).status == 200
        assert (await got(front, "/api/version", authorization="Bearer flg_right")).status == 200
        assert (await got(front, "/api/version", authorization="Bearer flg_wrong")).status == 401

    run(test())


def test_show_without_a_key_is_refused_before_its_body(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "keys.yml"
        path.write_text(f"keys: [{{name: alice, hash: '{hash_of('flg_right')}'}}]")
        front = Front(tmp_path, keys=ApiKeys(str(path)))
        large = {"model": MODEL, "more": "x" * 100_000}
        assert (await got(front, "/api/show", "POST", large)).status == 401
        assert (await got(front, "/api/show", "POST", large, authorization="Bearer flg_right")).status == 413

    run(test())


def test_client_that_hangs_up_in_the_body_of_a_question_is_no_defect(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        client = Client("/api/show")
        client.hangs()
        client.gone.set()
        await front.ask(client)
        assert client.status == 499

    run(test())


def test_body_with_too_many_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError) as caught:
        document_of(b'{"a": [' + b",".join([b"{}"] * 150_000) + b"]}")
    assert caught.value.status == 413
