# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every endpoint, against the oldest supported, the lab's and the newest version."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient

# A version of Ollama that answers otherwise is what these tests are there to find.
pytestmark = pytest.mark.every_version


def names(client: OllamaClient) -> set[str]:
    return {model["name"] for model in client.tags()["models"]}


def test_version_is_that_of_the_server(api: OllamaClient) -> None:
    assert api.version()["version"] in ("0.5.5", "0.24.0", "0.32.5")


def test_tags_have_the_digests_of_the_store(api: OllamaClient, server: services.OllamaServer) -> None:
    listed = {model["name"]: model for model in api.tags()["models"]}
    manifest = server.models_path / "manifests/registry.ollama.ai/library/smollm2/135m"
    assert listed["smollm2:135m"]["digest"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert {model.model: model.digest for model in official.Client(server.url).list().models} == {
        name: model["digest"] for name, model in listed.items()
    }


def test_show_returns_what_the_official_client_shows(api: OllamaClient) -> None:
    shown = api.show("smollm2:135m")
    assert "<|im_start|>" in shown["template"]
    assert shown["details"]["format"] == "gguf"
    assert "tokenizer.ggml.tokens" in api.show("smollm2:135m", verbose=True)["model_info"]


def test_ps_without_a_loaded_model_is_empty(api: OllamaClient) -> None:
    assert api.ps() == {"models": []}


def test_calls_with_a_missing_model_raise(api: OllamaClient) -> None:
    acts: list[Any] = [
        lambda: api.show("nope"),
        lambda: api.delete("nope"),
        lambda: api.copy("nope", "x"),
        lambda: api.chat(model="nope", messages=[{"role": "user", "content": "x"}]),
        lambda: api.generate(model="nope", prompt="x"),
        lambda: api.embed(model="nope", input="x"),
        lambda: list(api.chat_stream(model="nope", messages=[{"role": "user", "content": "x"}])),
    ]
    for act in acts:
        with pytest.raises(errors.ModelNotFoundError) as caught:
            act()
        assert caught.value.status == 404
        assert caught.value.details["name"] == "nope"


def test_chat_with_an_invalid_name_raises(api: OllamaClient) -> None:
    with pytest.raises(errors.ApiError) as caught:
        api.chat(model="!!", messages=[{"role": "user", "content": "x"}])
    assert caught.value.status in (400, 404)


def test_copy_and_delete_change_the_list(api: OllamaClient, server: services.OllamaServer) -> None:
    api.copy("smollm2:135m", "copied:tag")
    assert "copied:tag" in names(api)
    assert official.Client(server.url).show("copied:tag").template == api.show("smollm2:135m")["template"]
    api.delete("copied:tag")
    assert "copied:tag" not in names(api)
    with pytest.raises(errors.ModelNotFoundError):
        api.delete("copied:tag")


def test_create_from_a_model_makes_it(api: OllamaClient, server: services.OllamaServer) -> None:
    reports = list(
        api.create("pirate", **{"from": "smollm2:135m"}, system="You are a pirate.", parameters={"temperature": 0.5})
    )
    assert reports[-1] == {"status": "success"}
    shown = official.Client(server.url).show("pirate")
    assert (shown.modelfile or "").count("You are a pirate.") == 1
    assert "0.5" in (shown.parameters or "")
    api.delete("pirate")


def test_create_that_is_refused_raises_the_servers_message(api: OllamaClient) -> None:
    with pytest.raises(errors.ApiError) as caught:
        api.create("x", files={"x.gguf": "sha256:" + hashlib.sha256(b"").hexdigest()}).wait()
    assert caught.value.server_message


def test_push_blob_sends_a_blob_once(api: OllamaClient, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    path = tmp_path / "blob"
    path.write_bytes(content)
    assert not api.has_blob(digest)
    assert api.push_blob(digest, path) is True
    assert api.has_blob(digest)
    assert api.push_blob(digest, path) is False
    other = os.urandom(1000)
    assert api.push_blob("sha256:" + hashlib.sha256(other).hexdigest(), iter([other]), size=1000) is True


def test_push_blob_with_another_digest_raises(api: OllamaClient) -> None:
    content = os.urandom(1000)
    real = "sha256:" + hashlib.sha256(content).hexdigest()
    with pytest.raises(errors.DigestMismatchError) as caught:
        api.push_blob("sha256:" + "0" * 64, [content], size=1000)
    assert (caught.value.details["expected"], caught.value.details["digest"]) == ("sha256:" + "0" * 64, real)
    assert caught.value.status == 400


def test_push_blob_with_a_short_source_raises_and_leaves_no_blob(api: OllamaClient) -> None:
    digest = "sha256:" + hashlib.sha256(b"whole").hexdigest()
    with pytest.raises(errors.UploadSourceError):
        api.push_blob(digest, [b"who"], size=5)
    assert not api.has_blob(digest)


def test_pull_without_a_registry_raises(api: OllamaClient) -> None:
    with pytest.raises(errors.ApiError, match="refused"):
        api.pull("127.0.0.1:1/team/model", insecure=True).wait()


def test_push_without_a_registry_raises(api: OllamaClient) -> None:
    api.copy("smollm2:135m", "127.0.0.1:1/team/model")
    with pytest.raises(errors.ApiError):
        api.push("127.0.0.1:1/team/model", insecure=True).wait()
    api.delete("127.0.0.1:1/team/model")


def test_call_with_a_refused_host_name_raises(server: services.OllamaServer) -> None:
    with pytest.raises(errors.AccessDeniedError) as caught:
        OllamaClient(server.url, headers={"Host": "gpu.example.com"}).tags()
    assert caught.value.status == 403


def test_chat_with_a_field_that_the_version_lacks_raises(api: OllamaClient) -> None:
    with pytest.raises(errors.OllamaError) as caught:
        api.chat(model="nope", messages=[], think=True)
    if api.version()["version"] == "0.5.5":
        assert isinstance(caught.value, errors.UnsupportedByServerError)
        assert "(Ollama 0.5.5) does not know think" in str(caught.value) and "0.9.0" in str(caught.value)
    else:
        assert isinstance(caught.value, errors.ModelNotFoundError)
