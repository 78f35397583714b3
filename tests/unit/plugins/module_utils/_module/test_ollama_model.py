# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_model: the plan of each state, what is done, and what is reported."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from module_run import Run, run_module

from .memory_ollama import MemoryOllama


def run(ollama: MemoryOllama, *, check: bool = False, **options: Any) -> Run:
    return run_module("ollama_model", {"host": ollama.url, "name": "a:1", "retries": 0, **options}, check=check)


def gguf(directory: Path, name: str = "x.gguf") -> str:
    path = directory / name
    path.write_bytes(b"GGUF" + name.encode())
    return str(path)


def test_present_missing_model_is_pulled_once(ollama: MemoryOllama) -> None:
    ollama.library["a:1"] = ("ab" * 32, 20)
    first, second = run(ollama), run(ollama)
    assert (first.changed, first.result["actions"], second.changed) == (True, ["pull a:1"], False)
    assert first.result["digest_after"] == "sha256:" + "ab" * 32 and first.result["digest_before"] is None
    assert first.result["diff"]["after"] == {"name": "a:1", "digest": "sha256:" + "ab" * 32, "size": 20}
    assert ollama.requests == [("POST", "pull")]


def test_present_in_check_mode_nothing_is_pulled(ollama: MemoryOllama) -> None:
    ollama.library["a:1"] = ("ab" * 32, 20)
    outcome = run(ollama, check=True)
    assert (outcome.changed, outcome.result["actions"], ollama.requests) == (True, ["pull a:1"], [])
    assert outcome.result["diff"]["after"] == {"name": "a:1", "digest": None, "size": None}


def test_present_pull_always_same_digest_is_unchanged(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    ollama.library["a:1"] = ollama.models["a:1"]
    outcome = run(ollama, pull="always")
    assert (outcome.changed, ollama.requests) == (False, [("POST", "pull")])


def test_present_pull_never_missing_model_names_the_import(ollama: MemoryOllama) -> None:
    outcome = run(ollama, pull="never")
    assert outcome.result["error_code"] == "model_not_found" and "ollama_s3_import" in outcome.result["msg"]


def test_present_failed_pull_tells_what_was_done(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    outcome = run(ollama, pull="always", push=True)
    assert outcome.failed and (outcome.changed, outcome.result["actions"]) == (False, [])


def test_present_push_follows_the_rest(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    outcome = run(ollama, push=True)
    assert (outcome.changed, outcome.result["actions"]) == (True, ["push a:1"])


def test_source_is_copied_until_the_digests_agree(ollama: MemoryOllama) -> None:
    ollama.add("b:1")
    first, second = run(ollama, source="b:1"), run(ollama, source="b:1")
    assert (first.changed, first.result["actions"], second.changed) == (True, ["copy b:1 to a:1"], False)


def test_source_missing_is_pulled_first(ollama: MemoryOllama) -> None:
    ollama.library["b:1"] = ("ab" * 32, 20)
    assert run(ollama, source="b:1").result["actions"] == ["pull b:1", "copy b:1 to a:1"]


def test_source_equal_to_the_name_is_refused(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    assert run(ollama, source="a:1").result["error_code"] == "invalid_option"


def test_create_from_files_uploads_them_and_is_unchanged_then(ollama: MemoryOllama, tmp_path: Path) -> None:
    create = {"files": {"x.gguf": gguf(tmp_path)}, "system": "Be brief."}
    first = run(ollama, create=create)
    assert (first.changed, first.result["actions"]) == (True, ["create a:1"])
    assert ollama.requests == [("POST", "blob"), ("POST", "create")]
    digest = "sha256:" + hashlib.sha256(b"GGUFx.gguf").hexdigest()
    assert ollama.bodies[-1]["files"] == {"x.gguf": digest} and digest in ollama.blobs
    second = run(ollama, create=create)
    assert (second.changed, second.failed, ollama.requests[2:]) == (False, False, [])
    assert run(ollama, create={**create, "system": "Be long."}).changed


def test_create_by_force_acts_and_compares_the_digests(ollama: MemoryOllama, tmp_path: Path) -> None:
    create = {"files": {"x.gguf": gguf(tmp_path)}, "force": True}
    assert run(ollama, create=create).changed
    assert not run(ollama, create=create).changed
    assert ollama.requests.count(("POST", "create")) == 2


def test_create_from_a_directory_takes_the_files_of_a_model(ollama: MemoryOllama, tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "notes.md", ".hidden.json"):
        gguf(tmp_path, name)
    (tmp_path / ".git").mkdir()
    gguf(tmp_path / ".git", "config.json")
    assert run(ollama, create={"directory": str(tmp_path)}).changed
    assert sorted(ollama.bodies[-1]["files"]) == ["config.json", "model.safetensors"]


def test_create_from_a_directory_without_a_model_is_refused(ollama: MemoryOllama, tmp_path: Path) -> None:
    outcome = run(ollama, create={"directory": str(tmp_path)})
    assert outcome.result["error_code"] == "upload_source" and ".gguf" in outcome.result["msg"]


def test_create_from_a_model_that_is_missing_pulls_it(ollama: MemoryOllama) -> None:
    ollama.library["b:1"] = ("ab" * 32, 20)
    outcome = run(ollama, create={"from": "b:1", "system": "Be brief."})
    assert outcome.result["actions"] == ["pull b:1", "create a:1"]


def test_create_in_check_mode_reports_the_parts(ollama: MemoryOllama) -> None:
    ollama.add("b:1", template="{{ .Prompt }}")
    outcome = run(ollama, create={"from": "b:1", "system": "Be brief."}, check=True)
    assert outcome.changed and outcome.result["diff"]["after"]["system"] == "Be brief." and ollama.requests == []


def test_absent_deletes_every_spelling(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    ollama.add("A:1")
    outcome = run(ollama, state="absent")
    assert sorted(outcome.result["actions"]) == ["delete A:1", "delete a:1"] and ollama.models == {}
    assert not run(ollama, state="absent").changed


def test_loaded_is_unchanged_unless_terms_differ(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    assert run(ollama, state="loaded").changed
    assert not run(ollama, state="loaded").changed
    wider = run(ollama, state="loaded", options={"num_ctx": 8192}, keep_alive="-1")
    assert wider.changed and wider.result["running"]["context_length"] == 8192
    again = run(ollama, state="loaded", options={"num_ctx": 8192}, keep_alive="-1")
    assert (again.changed, again.result["actions"]) == (False, ["load a:1"])


class _Late(dict[str, Any]):
    """Models in memory as Ollama lists them: with the former terms at some looks after a change."""

    former: Any = None
    looks = 0

    def __setitem__(self, name: str, entry: Any) -> None:
        if name in self:
            self.former, self.looks = {**self}, 3
        super().__setitem__(name, entry)

    def items(self) -> Any:
        self.looks -= 1
        return (self.former if self.looks >= 0 else {**self}).items()


def test_loaded_for_another_time_waits_until_the_server_lists_the_time(
    ollama: MemoryOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.add("a:1")
    monkeypatch.setattr(ollama, "loaded", _Late())
    for keep_alive, year in (("-1", "2318"), ("1h", "2026"), ("-1", "2318")):
        outcome = run(ollama, state="loaded", keep_alive=keep_alive)
        assert outcome.changed and outcome.result["running"]["expires_at"].startswith(year)


def test_loaded_embedding_model_is_loaded_by_an_embedding(ollama: MemoryOllama) -> None:
    ollama.add("a:1", capabilities=["embedding"])
    assert run(ollama, state="loaded").changed
    assert ollama.requests == [("POST", "embed")]


def test_loaded_model_of_an_old_server_falls_back_to_an_embedding(ollama: MemoryOllama) -> None:
    ollama.add("a:1", capabilities=[])
    assert run(ollama, state="loaded").changed
    assert ollama.requests == [("POST", "generate"), ("POST", "embed")]


def test_loaded_missing_model_is_an_error(ollama: MemoryOllama) -> None:
    assert run(ollama, state="loaded").result["error_code"] == "model_not_found"


def test_unloaded_waits_until_the_model_is_gone(ollama: MemoryOllama) -> None:
    ollama.add("a:1")
    run(ollama, state="loaded")
    assert run(ollama, state="unloaded").result["actions"] == ["unload a:1"]
    assert not run(ollama, state="unloaded").changed


def test_unloaded_model_that_stays_is_an_error_after_the_timeout(
    ollama: MemoryOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.add("a:1")
    run(ollama, state="loaded")
    monkeypatch.setattr(ollama, "loaded", _Sticky(ollama.loaded))
    outcome = run(ollama, state="unloaded", timeout=0.2)
    assert outcome.failed and "still loaded" in outcome.result["msg"]


class _Sticky(dict[str, Any]):
    def pop(self, key: str, *default: Any) -> Any:
        return self.get(key)


@pytest.mark.parametrize(
    "options, code",
    [
        ({"name": "a b"}, "invalid_name"),
        ({"source": "b:1", "state": "absent"}, "invalid_option"),
        ({"source": "a b"}, "invalid_name"),
        ({"keep_alive": "5m"}, "invalid_option"),
        ({"state": "loaded", "keep_alive": 0}, "invalid_option"),
        ({"state": "loaded", "keep_alive": "soon"}, "invalid_option"),
        ({"create": {"from": "x y"}}, "invalid_name"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_the_server_is_asked(options: dict[str, Any], code: str) -> None:
    nobody = {"host": "http://127.0.0.1:9", "name": "a:1", "retries": 0}
    assert run_module("ollama_model", {**nobody, **options}).result["error_code"] == code
