# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that differ in case only, which Ollama takes for the same and a mirror does not."""

from __future__ import annotations

from functools import partial

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_publish import ModelPublisher
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import InvalidNameError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

LOWER, MIXED = ModelName.parse("minilm:q4_k_m"), ModelName.parse("MiniLM:q4_K_M")


@pytest.fixture
def store(tmp_path, memory_mirror):
    """A store that has the model in lower case."""
    memory_mirror.put(LOWER.full, b"shared", b"old")
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        ModelImport(memory_mirror, opened, [LOWER]).apply()
        yield opened


def test_import_other_spelling_keeps_the_name_of_the_store(store, memory_mirror):
    new = memory_mirror.put(MIXED.full, b"shared", b"new")
    plan = ModelImport(memory_mirror, store, [MIXED]).apply()
    assert store.names() == [LOWER]
    assert store.manifest(LOWER) == new
    assert [str(MIXED) in warning and str(LOWER) in warning for warning in plan.warnings] == [True]
    again = ModelImport(memory_mirror, store, [MIXED]).plan()
    assert not again.changed
    assert not again.warnings


def test_import_prune_keeps_the_spelling_of_the_store(store, memory_mirror):
    memory_mirror.put(MIXED.full, b"shared", b"new")
    ModelImport(memory_mirror, store, [MIXED], prune=["*"]).apply()
    assert store.names() == [LOWER]


def test_plan_two_names_that_ollama_takes_for_one_are_refused(store, memory_mirror):
    memory_mirror.put(MIXED.full, b"shared", b"new")
    with pytest.raises(InvalidNameError, match="same model"):
        ModelImport(memory_mirror, store, [MIXED, LOWER]).plan()


def test_apply_spelling_that_came_during_the_wait_is_kept(tmp_path, memory_mirror):
    memory_mirror.put(LOWER.full, b"shared", b"old")
    memory_mirror.put(MIXED.full, b"shared", b"new")
    settings = StoreSettings(str(tmp_path / "models"))
    with Store(settings) as store, Store(settings) as other:
        waiting = ModelImport(memory_mirror, store, [MIXED])
        assert waiting.plan().models[0].name == MIXED
        ModelImport(memory_mirror, other, [LOWER]).apply()
        waiting.apply()
    with Store(settings) as store:
        assert store.names() == [LOWER]


def test_plan_two_spellings_in_the_store_are_a_warning(store, memory_mirror):
    memory_mirror.put(MIXED.full, b"shared", b"new")
    store.write_manifest(MIXED, store.manifest(LOWER))
    (warning,) = ModelImport(memory_mirror, store, [LOWER]).plan().warnings
    assert f"The store has {LOWER} and {MIXED}" in warning


FIRST, SECOND = ModelName.parse("hf.co/a/x-gguf:Q4_K_M"), ModelName.parse("hf.co/b/y-gguf:q4_k_m")


def test_import_two_models_of_one_task_share_the_case_of_a_part(tmp_path, memory_mirror):
    """Ollama looks up each part of a name as any model of the store spells it."""
    for name in (FIRST, SECOND):
        memory_mirror.put(name.full, name.model.encode())
    with Store(StoreSettings(str(tmp_path / "models"))) as store:
        plan = ModelImport(memory_mirror, store, [FIRST, SECOND]).apply()
        assert {name.tag for name in store.names()} == {"Q4_K_M"}
        assert [f"{SECOND} is imported as hf.co/b/y-gguf:Q4_K_M" in warning for warning in plan.warnings] == [True]
        for order in ([FIRST, SECOND], [SECOND, FIRST]):
            again = ModelImport(memory_mirror, store, order).plan()
            assert not again.changed
            assert not again.warnings


def test_plan_present_models_with_a_part_in_different_case_are_a_warning(store, memory_mirror):
    other = ModelName.parse("other:Q4_K_M")
    store.write_manifest(other, store.manifest(LOWER))
    (warning,) = ModelImport(memory_mirror, store, [LOWER]).plan().warnings
    assert f"{LOWER} spells a part of its name in another case than {other}" in warning


def test_publish_unreadable_blob_is_refused_before_anything_is_sent(store, memory_mirror, monkeypatch):
    memory_mirror.objects.clear()

    def refuse(self, name):
        raise NotPermittedError(f"Could not read at {name}")

    publisher = ModelPublisher(memory_mirror, store, [LOWER])
    monkeypatch.setattr(store, "open_blob", partial(refuse, store))
    with pytest.raises(NotPermittedError):
        publisher.plan()
    assert not memory_mirror.objects


def test_publish_second_spelling_is_a_warning(store, memory_mirror):
    for key in [key for key in memory_mirror.objects if "minilm" in key]:
        del memory_mirror.objects[key]
    memory_mirror.put(MIXED.full, b"shared", b"other")
    publisher = ModelPublisher(memory_mirror, store, [LOWER])
    (warning,) = publisher.plan().warnings
    assert f"The mirror has {MIXED}" in warning
