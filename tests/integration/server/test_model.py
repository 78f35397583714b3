# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_model: every way to add and remove a model, with check mode and a second run, on three versions."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any, Optional

import ollama as official
import pytest
import services
from registry import Registry

OURS = "registry.example.com:5000/team/smollm2:135m"


class Server:
    """A server and the module on it; its models as the official client sees them."""

    def __init__(self, server: services.OllamaServer, module: Any) -> None:
        self.url = server.url
        self.models_path = server.models_path
        self.official = official.Client(server.url)
        self._module = module

    @property
    def version(self) -> str:
        return str(self._module("ollama_model_info", host=self.url)["version"])

    def run(self, name: str, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._module("ollama_model", host=self.url, name=name, **options)
        return result

    def digest(self, name: str) -> Optional[str]:
        found = [model.digest for model in self.official.list().models if model.model == name]
        return f"sha256:{found[0]}" if found else None

    def twice(self, name: str, *, exact: bool = True, **options: Any) -> dict[str, Any]:
        """Run in check mode, for real and once more; the first two must agree, and the last change nothing."""
        before = self.digest(name)
        predicted = self.run(name, check=True, **options)
        assert self.digest(name) == before, "check mode changed something"
        result = self.run(name, **options)
        assert not result.get("failed"), result
        assert predicted["changed"] is True, predicted
        assert result["changed"] is True, result
        assert predicted["actions"] == result["actions"]
        assert predicted["diff"]["before"] == result["diff"]["before"]
        assert (result["digest_before"], result["digest_after"]) == (before, self.digest(name))
        if exact:
            assert predicted["digest_after"] == result["digest_after"]
            assert predicted["diff"] == result["diff"]
        for check in (False, True):
            again = self.run(name, check=check, **options)
            assert (again["changed"], again["actions"]) == (False, []), again
            assert again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]
        return result


@pytest.fixture
def server(any_server: services.OllamaServer, module: Any) -> Server:
    return Server(any_server, module)


@pytest.fixture
def able(own_server: services.OllamaServer, module: Any) -> Server:
    """The version that can infer, without what the examples of the documentation have made there."""
    server = Server(own_server, module)
    for name in ("all-minilm:q8", "tiny-bert:latest"):
        if server.digest(name):
            server.official.delete(name)
    return server


@pytest.fixture
def removed(server: Server) -> Any:
    """Removes models after the test."""
    names: list[str] = []
    yield names
    for name in names:
        if server.digest(name):
            server.official.delete(name)


# Pull.


@pytest.mark.every_version
def test_present_of_a_missing_model_pulls_it_once(server: Server, registry: Registry, removed: list[str]) -> None:
    removed.append(OURS)
    result = server.twice(OURS, exact=False, insecure=True)
    assert result["actions"] == [f"pull {OURS}"]
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"] == {"name": OURS, "digest": server.digest(OURS), "size": result["model"]["size"]}
    assert result["model"]["full_name"] == OURS
    assert server.official.show(OURS).template == server.official.show("smollm2:135m").template


def test_present_of_an_existing_model_asks_no_registry(server: Server, registry: Registry) -> None:
    asked = len(registry.requests)
    for name in ("smollm2:135m", "SmolLM2:135m", "registry.ollama.ai/library/smollm2:135m"):
        result = server.run(name)
        assert (result["changed"], result["model"]["name"]) == (False, "smollm2:135m")
    assert len(registry.requests) == asked


@pytest.mark.every_version
def test_pull_always_is_a_change_only_for_a_newer_version(
    server: Server, registry: Registry, model_store: Path, removed: list[str]
) -> None:
    name = "registry.example.com:5000/team/moving"
    removed.append(name + ":latest")
    registry.offer("registry.example.com:5000", "team/moving", "latest", model_store, ("smollm2", "135m"))
    options: dict[str, Any] = {"pull": "always", "insecure": True}
    first = server.run(name, **options)
    second = server.run(name, **options)
    assert (first["changed"], second["changed"]) == (True, False)
    assert second["actions"] == [f"pull {name}:latest"]
    assert server.run(name, check=True, **options)["changed"] is True, "assumed, as its documentation says"
    registry.offer("registry.example.com:5000", "team/moving", "latest", model_store, ("all-minilm", "latest"))
    third = server.run(name, **options)
    assert third["changed"] is True
    assert third["digest_before"] == first["digest_after"] != third["digest_after"]
    assert third["diff"]["before"]["size"] != third["diff"]["after"]["size"]
    assert server.run(name, insecure=True)["changed"] is False


@pytest.mark.every_version
def test_present_of_a_model_that_no_registry_has_fails(server: Server) -> None:
    result = server.run("registry.example.com:5000/team/nope", insecure=True)
    assert result["failed"] and result["error_code"] == "model_not_found", result
    assert result["changed"] is False and "team/nope" in result["msg"]


def test_present_without_a_registry_fails(server: Server) -> None:
    result = server.run("127.0.0.1:1/team/nope", insecure=True, retries=0)
    assert result["failed"] and "refused" in result["msg"]


def test_present_with_pull_never_fails_for_a_missing_model(server: Server) -> None:
    assert server.run("smollm2:135m", pull="never")["changed"] is False
    for options in ({}, {"source": "nope"}, {"create": {"from": "nope", "system": "x"}}):
        for check in (False, True):
            result = server.run("new", pull="never", check=check, **options)
            assert result["failed"] and result["error_code"] == "model_not_found"
            assert "pull=never" in result["msg"]


def test_invalid_name_is_refused(server: Server) -> None:
    result = server.run("a//b")
    assert result["failed"] and result["error_code"] == "invalid_name"


# Copy.


@pytest.mark.every_version
def test_copy_follows_its_changed_source(server: Server, removed: list[str]) -> None:
    removed.append("assistant:latest")
    result = server.twice("assistant:latest", source="smollm2:135m")
    assert result["actions"] == ["copy smollm2:135m to assistant:latest"]
    assert server.digest("assistant:latest") == server.digest("smollm2:135m")
    changed = server.twice("assistant:latest", source="all-minilm")
    assert changed["digest_before"] == server.digest("smollm2:135m")
    assert server.digest("assistant:latest") == server.digest("all-minilm:latest")


def test_copy_of_a_missing_model_pulls_it_first(server: Server, removed: list[str]) -> None:
    source = "registry.example.com:5000/team/all-minilm"
    removed += [source + ":latest", "embedder:latest"]
    result = server.twice("embedder:latest", exact=False, source=source, insecure=True)
    assert result["actions"] == [f"pull {source}:latest", f"copy {source}:latest to embedder:latest"]


def test_copy_of_a_model_to_itself_is_refused(server: Server) -> None:
    result = server.run("smollm2:135m", source="registry.ollama.ai/library/smollm2:135m")
    assert result["failed"] and result["error_code"] == "invalid_option"


# Create.

PIRATE: dict[str, Any] = {
    "from": "smollm2:135m",
    "system": 'You are a pirate.\nSay "arr".',
    "parameters": {"temperature": "0.5", "num_ctx": 4096, "stop": ["<|im_end|>", "arr\t\u00e4"]},
    "messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Arr."}],
    "license": ["Pirate Code"],
    "template": "{{ .System }} {{ .Prompt }}",
}


@pytest.mark.every_version
def test_create_from_a_model_is_done_once(server: Server, removed: list[str]) -> None:
    removed.append("pirate:latest")
    result = server.twice("pirate:latest", exact=False, create=PIRATE)
    assert result["actions"] == ["create pirate:latest"]
    after = result["diff"]["after"]
    assert after["system"] == PIRATE["system"]
    # The number of threads is that of the lab's own model.
    expected = {"temperature": 0.5, "num_ctx": 4096, "num_thread": 1, "stop": ["<|im_end|>", "arr\tä"]}
    assert after["parameters"] == expected
    shown = server.official.show("pirate")
    lines = sorted(" ".join(line.split()) for line in (shown.parameters or "").splitlines())
    assert lines == [
        "num_ctx 4096",
        "num_thread 1",
        'stop "<|im_end|>"',
        'stop "arr\\tä"',
        "temperature 0.5",
    ]
    assert shown.template == PIRATE["template"]
    assert shown.license == "Pirate Code"
    assert PIRATE["system"] in (shown.modelfile or "")


@pytest.mark.parametrize(
    "part, value",
    [
        ("system", "You are a parrot."),
        ("parameters", {"temperature": 0.6}),
        ("parameters", {"temperature": 0.5, "top_k": 5}),
        ("messages", [{"role": "user", "content": "Hello"}]),
        ("license", ["Another"]),
        ("template", "{{ .Prompt }}"),
        ("from", "all-minilm"),
    ],
)
def test_create_with_a_changed_part_is_a_change(able: Server, part: str, value: Any) -> None:
    able.run("changing", create=PIRATE)
    result = able.twice("changing:latest", exact=False, create={**PIRATE, part: value})
    key = "weights" if part == "from" else part
    assert result["diff"]["before"][key] != result["diff"]["after"][key]


def test_create_without_a_former_part_uses_that_of_the_origin(server: Server, removed: list[str]) -> None:
    removed.append("plain:latest")
    server.run("plain", create=PIRATE)
    result = server.twice("plain:latest", exact=False, create={"from": "smollm2:135m"})
    assert result["diff"]["after"]["system"] == "" and result["diff"]["after"]["messages"] == []
    assert result["diff"]["after"]["parameters"]["temperature"] == 0


def assert_lacks_its_tool(result: dict[str, Any]) -> None:
    assert result["failed"] and result["error_code"] == "ollama_error", result
    assert "llama-quantize" in result["msg"] and "was not found by" not in result["msg"]


@pytest.mark.every_version
def test_create_from_a_file_is_done_once(server: Server, weights: Path, removed: list[str]) -> None:
    removed.append("tiny:q4")
    create = {"files": {"tiny.gguf": str(weights)}, "template": "{{ .Prompt }}", "parameters": {"seed": 7}}
    result = server.run("tiny:q4", create=create)
    if "0.32.5" in server.version:  # its build from source lacks the tool that it checks such files with
        assert_lacks_its_tool(result)
        assert server.digest("tiny:q4") is None
        return
    assert not result.get("failed"), result
    assert result["changed"] is True
    for check in (False, True):
        again = server.run("tiny:q4", create=create, check=check)
        assert (again["changed"], again["actions"]) == (False, []), again
    digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
    assert result["diff"]["after"]["weights"] == [digest]
    changed = server.run("tiny:q4", create={**create, "parameters": {"seed": 8}})
    assert changed["changed"] is True


def test_create_from_a_file_without_a_template_is_done_once(able: Server, weights: Path) -> None:
    """Ollama finds template and stop words in the file itself, and they must not look like a difference."""
    create = {"files": {"tiny.gguf": str(weights)}}
    assert able.run("bare:q4", create=create)["changed"] is True
    again = able.run("bare:q4", create=create)
    assert (again["changed"], again["actions"]) == (False, []), again
    able.official.delete("bare:q4")


def test_create_from_other_weights_of_the_same_name_is_a_change(able: Server, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.symlink_to(weights)
    create = {"files": {"tiny.gguf": str(path)}, "template": "{{ .Prompt }}"}
    first = able.run("swapped:latest", create=create)
    shown = able.official.show("all-minilm")
    path.unlink()
    path.symlink_to(str(shown.modelfile).rsplit("FROM ", maxsplit=1)[-1].splitlines()[0])
    second = able.run("swapped:latest", create=create)
    assert second["changed"] is True
    assert first["diff"]["after"]["weights"] != second["diff"]["after"]["weights"]
    able.official.delete("swapped:latest")


@pytest.mark.every_version
def test_create_with_quantization_is_done_once(server: Server, removed: list[str]) -> None:
    if "0.32.5" in server.version:
        assert_lacks_its_tool(server.run("all-minilm:q8", create={"from": "all-minilm", "quantize": "q8_0"}))
        assert server.digest("all-minilm:q8") is None
        return
    removed.append("all-minilm:q8")
    result = server.twice("all-minilm:q8", exact=False, create={"from": "all-minilm", "quantize": "q8_0"})
    assert result["model"]["quantization_level"] == "Q8_0"
    forced = server.run("all-minilm:q8", create={"from": "all-minilm", "quantize": "q8_0", "force": True})
    assert (forced["changed"], forced["actions"]) == (False, ["create all-minilm:q8"])


@pytest.mark.every_version
def test_create_from_a_directory_is_done_once(server: Server, tiny_bert: Path, removed: list[str]) -> None:
    create = {"directory": str(tiny_bert)}
    if "0.32.5" in server.version:
        assert_lacks_its_tool(server.run("tiny-bert", create=create))
        assert server.digest("tiny-bert:latest") is None
        return
    removed.append("tiny-bert:latest")
    result = server.twice("tiny-bert:latest", exact=False, create=create)
    assert result["model"]["family"] == "bert"
    if "0.24.0" in server.version:  # the build that can infer
        vectors = server.official.embed("tiny-bert", "a b").embeddings
        assert len(vectors[0]) == 32


def test_create_from_a_missing_origin_pulls_it_first(server: Server, removed: list[str]) -> None:
    origin = "registry.example.com:5000/team/smollm2:135m"
    removed += [origin, "derived:latest"]
    create = {"from": origin, "system": "Be brief."}
    result = server.twice("derived:latest", exact=False, create=create, insecure=True)
    assert result["actions"] == [f"pull {origin}", "create derived:latest"]


def test_create_from_an_unknown_origin_fails_and_leaves_nothing(server: Server) -> None:
    result = server.run("x", create={"from": "registry.example.com:5000/team/nope"}, insecure=True)
    assert result["failed"] and result["error_code"] == "model_not_found"
    assert server.digest("x:latest") is None, "nothing half-made is left"


@pytest.mark.parametrize(
    "create, code",
    [
        ({"files": {"x.gguf": "/nope"}}, "upload_source"),
        ({"directory": "/proc/self/fdinfo"}, "upload_source"),
        ({"from": "smollm2:135m", "parameters": {"num_ctx": "many"}}, "invalid_option"),
        ({"from": "smollm2:135m", "template": "{{ .Unclosed"}, "invalid_request"),
        ({"from": "smollm2:135m", "quantize": "q4_K_M"}, "ollama_error"),
    ],
)
def test_create_of_an_impossible_model_fails_and_leaves_nothing(
    able: Server, create: dict[str, Any], code: str
) -> None:
    result = able.run("x", create=create)
    assert result["failed"] and result["error_code"] == code, result
    assert able.digest("x:latest") is None


def test_create_from_a_file_without_a_model_fails_with_the_servers_message(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    result = server.run("x", create={"files": {"x.gguf": str(tmp_path / "x.gguf")}})
    assert result["failed"] and result["server_message"], result
    assert server.digest("x:latest") is None


# Push.


def test_push_sends_the_model_each_time(server: Server, registry: Registry, removed: list[str]) -> None:
    name = "registry.example.com:5000/team/pushed:1"
    removed.append(name)
    predicted = server.run(name, check=True, source="smollm2:135m", push=True, insecure=True)
    result = server.run(name, source="smollm2:135m", push=True, insecure=True)
    assert predicted["actions"] == result["actions"] == [f"copy smollm2:135m to {name}", f"push {name}"]
    assert predicted["changed"] is result["changed"] is True
    assert ("registry.example.com:5000", "team/pushed", "1") in registry.manifests
    again = server.run(name, push=True, insecure=True)
    assert (again["changed"], again["actions"]) == (True, [f"push {name}"]), "as its documentation says"


def test_push_that_fails_returns_the_actions_before_it(server: Server, removed: list[str]) -> None:
    name = "127.0.0.1:1/team/unpushed:latest"
    removed.append(name)
    result = server.run(name, source="smollm2:135m", push=True, insecure=True)
    assert result["failed"] and "refused" in result["msg"]
    assert (result["changed"], result["actions"]) == (True, [f"copy smollm2:135m to {name}"])


# Delete.


def test_absent_removes_a_model_once(server: Server) -> None:
    server.official.copy("smollm2:135m", "doomed")
    result = server.twice("doomed:latest", state="absent")
    assert result["actions"] == ["delete doomed:latest"]
    assert result["model"] is None and result["digest_after"] is None
    assert result["diff"]["after"] == {}
    assert server.run("never-was", state="absent")["changed"] is False


# Load and unload.


def running(server: Server) -> dict[str, Any]:
    return {model.model or "": model for model in server.official.ps().models}


@pytest.mark.parametrize("name", ["smollm2:135m", "all-minilm:latest"])
def test_loaded_and_unloaded_change_the_running_models_once(able: Server, name: str) -> None:
    able.run(name, state="unloaded")
    predicted = able.run(name, state="loaded", check=True)
    assert predicted["changed"] is True and name not in running(able)
    result = able.run(name, state="loaded")
    assert not result.get("failed"), result
    assert result["changed"] is True and name in running(able), (result, able.official.ps())
    assert result["running"]["name"] == name and result["running"]["size"] > 0
    again = able.run(name, state="loaded")
    assert (again["changed"], again["actions"]) == (False, [])

    assert able.run(name, state="unloaded", check=True)["changed"] is True
    assert name in running(able)
    gone = able.run(name, state="unloaded")
    assert gone["changed"] is True and name not in running(able)
    assert able.run(name, state="unloaded")["changed"] is False


def test_loaded_with_another_keep_alive_changes_it_once(able: Server) -> None:
    able.run("smollm2:135m", state="unloaded")
    for keep_alive, changed, year in ((-1, True, 2300), ("-1", False, 2300), ("1h", True, 0), ("30m", False, 0)):
        predicted = able.run("smollm2:135m", state="loaded", keep_alive=keep_alive, check=True)
        result = able.run("smollm2:135m", state="loaded", keep_alive=keep_alive)
        assert not result.get("failed"), result
        assert predicted["changed"] is result["changed"] is changed, (keep_alive, predicted, result)
        assert (int(result["running"]["expires_at"][:4]) > 2300) is (year > 0)
    able.run("smollm2:135m", state="unloaded")


def test_loaded_with_another_context_reloads_the_model(able: Server) -> None:
    able.run("smollm2:135m", state="unloaded")
    for context, changed in ((1024, True), (1024, False), (2048, True)):
        result = able.run("smollm2:135m", state="loaded", options={"num_ctx": str(context)})
        assert result["changed"] is changed
        assert result["running"]["context_length"] == context
    able.run("smollm2:135m", state="unloaded")


def test_unloaded_waits_for_running_answers_within_its_limit(able: Server) -> None:
    endless = {"num_predict": 100_000, "temperature": 50.0, "top_k": 40000}
    stream = able.official.generate("smollm2:135m", "Go on", stream=True, options=endless)
    next(iter(stream))
    result = able.run("smollm2:135m", state="unloaded", timeout=1)
    assert result["failed"] and "still loaded 1 seconds" in result["msg"], result
    threading.Timer(1.0, stream.close).start()
    assert able.run("smollm2:135m", state="unloaded", timeout=60)["changed"] in (True, False)
    assert "smollm2:135m" not in running(able)


@pytest.mark.parametrize("state", ["loaded", "unloaded", "absent"])
def test_missing_model_fails_only_for_loaded(server: Server, state: str) -> None:
    result = server.run("nope", state=state)
    if state == "loaded":
        assert result["failed"] and result["error_code"] == "model_not_found"
    else:
        assert result["changed"] is False


@pytest.mark.parametrize(
    "options",
    [
        {"state": "absent", "source": "x"},
        {"state": "present", "keep_alive": "5m"},
        {"state": "loaded", "push": True},
        {"state": "loaded", "keep_alive": 0},
        {"state": "loaded", "keep_alive": "soon"},
        {"source": "x", "create": {"from": "y"}},
        {"create": {"system": "x"}},
    ],
)
def test_contradictory_options_are_refused(able: Server, options: dict[str, Any]) -> None:
    result = able.run("smollm2:135m", **options)
    assert result["failed"] and "Traceback" not in result["msg"]
