# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes when a model goes, and what stays whenever the list of the others may not be whole."""

from __future__ import annotations

import json

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_removal import (
    NotRemovedError,
    carry_out_removal,
    plan_removal,
    unused_blobs,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import KEEP, REMOVE
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.references import References
from hypothesis import given
from hypothesis import strategies as st

A, B, C = (ModelName.parse(text) for text in ("a", "b", "c"))
SHARED, OWN = digest_of(b"shared"), digest_of(b"own")


def manifest(*digests):
    layers = [{"mediaType": "x", "digest": digest, "size": 6} for digest in digests]
    return json.dumps({"schemaVersion": 2, "layers": layers}).encode()


class Shelf:
    """Models that are there; some may not be listed, and some may not be read."""

    where = "http://s3.lab"

    def __init__(self, models, hidden=(), barred=()):
        self.models = dict(models)
        self.hidden = set(hidden)
        self.barred = set(barred)
        self.blobs = {blob.digest for raw in self.models.values() for blob in Manifest.parse(raw).blobs}
        self.before_listing = lambda: None

    def manifest(self, name):
        if name in self.barred:
            raise CollectionError(f"Could not read the manifest of {name}")
        return self.models.get(name)

    def references(self, *, without=()):
        self.before_listing()
        found = References()
        for name in sorted(set(self.models) - self.hidden):
            found.names.add(name)
            if name not in without:
                found.add(name, lambda name=name: self.manifest(name), f"the place of {name}")
        return found

    def remove_manifest(self, name):
        return self.models.pop(name, None) is not None

    def remove_blob(self, digest):
        self.blobs.remove(digest)
        return True

    @property
    def needed(self):
        return {blob.digest for raw in self.models.values() for blob in Manifest.parse(raw).blobs}


@pytest.fixture
def shelf():
    return Shelf({A: manifest(SHARED, OWN), B: manifest(SHARED)})


def test_removal_model_takes_the_blobs_that_only_it_names(shelf):
    plan = plan_removal(shelf, [A])
    assert [blob.digest for blob in plan.of(REMOVE)] == [OWN]
    assert plan.listed == {A, B}
    assert carry_out_removal(shelf, plan).digests == [OWN]
    assert shelf.blobs == {SHARED}


def test_removal_unreadable_manifest_keeps_every_blob_and_is_named(shelf):
    shelf.barred = {B}
    plan = plan_removal(shelf, [A])
    assert not plan.of(REMOVE)
    assert {blob.digest: bool(blob.reason) for blob in plan.of(KEEP)} == {SHARED: True, OWN: True}
    (warning,) = plan.warnings
    assert "2 blobs are kept" in warning
    assert "Could not read the manifest of b:latest" in warning
    carry_out_removal(shelf, plan)
    assert list(shelf.models) == [B]
    assert shelf.blobs == {SHARED, OWN}


def test_removal_list_without_a_model_just_read_keeps_every_blob(shelf):
    shelf.hidden = {A, B}
    plan = plan_removal(shelf, [A])
    assert not plan.of(REMOVE)
    (warning,) = plan.warnings
    assert "lacks a:latest" in warning


def test_removal_list_that_loses_a_model_after_the_plan_keeps_every_blob(shelf):
    plan = plan_removal(shelf, [A])
    shelf.hidden = {B}
    removal = carry_out_removal(shelf, plan)
    assert removal.digests == []
    assert "lacks b:latest" in removal.warnings[0]
    assert shelf.blobs == {SHARED, OWN}


def test_removal_list_without_a_model_just_written_keeps_every_blob(shelf):
    coming = {C: Manifest.parse(manifest(SHARED))}
    unused = unused_blobs(shelf, {A: shelf.models[A]}, coming)
    assert [blob.digest for blob in unused.blobs if blob.action == REMOVE] == [OWN]
    plan = plan_removal(shelf, [A])
    written = type(plan)(
        models=(*plan.models, plan.models[0].__class__(C, None, coming[C])), blobs=plan.blobs, listed=plan.listed
    )
    shelf.models[C] = coming[C].raw
    shelf.hidden = {C}
    assert carry_out_removal(shelf, written).digests == []


def test_removal_that_is_confirmed_and_not_done_is_an_error(shelf, monkeypatch):
    monkeypatch.setattr(shelf, "remove_manifest", lambda name: True)
    with pytest.raises(NotRemovedError) as caught:
        carry_out_removal(shelf, plan_removal(shelf, [A]))
    assert "http://s3.lab" in caught.value.message
    assert "a:latest" in caught.value.message
    assert shelf.blobs == {SHARED, OWN}


def test_removal_model_that_somebody_else_removed_is_no_doubt(shelf):
    plan = plan_removal(shelf, [A])
    del shelf.models[B]
    assert carry_out_removal(shelf, plan).digests == [OWN]


def test_removal_blob_that_another_model_began_to_name_stays(shelf):
    plan = plan_removal(shelf, [A])
    shelf.models[C] = manifest(OWN)
    removal = carry_out_removal(shelf, plan)
    assert (removal.digests, removal.warnings) == ([], [])
    assert OWN in shelf.blobs


def test_removal_model_that_comes_during_the_removal_of_its_blob_is_named(shelf, monkeypatch):
    plan = plan_removal(shelf, [A])
    remove = shelf.remove_blob

    def publish_first(digest):
        shelf.models[C] = manifest(OWN)
        return remove(digest)

    monkeypatch.setattr(shelf, "remove_blob", publish_first)
    (warning,) = carry_out_removal(shelf, plan).warnings
    assert warning.startswith("c:latest was put into http://s3.lab while its blobs were removed")


def test_removal_that_cannot_look_at_the_models_for_the_last_time_is_done_with_a_warning(shelf, monkeypatch):
    plan = plan_removal(shelf, [A])
    remove = shelf.remove_blob

    def unreachable():
        raise CollectionError("the server does not answer")

    def remove_last(digest):
        shelf.before_listing = unreachable
        return remove(digest)

    monkeypatch.setattr(shelf, "remove_blob", remove_last)
    removal = carry_out_removal(shelf, plan)
    assert (removal.models, removal.digests) == ([A], [OWN])
    (warning,) = removal.warnings
    assert "is unknown: the server does not answer" in warning


def test_removal_blobs_of_a_damaged_manifest_stay(shelf):
    shelf.models[C] = b""
    plan = plan_removal(shelf, [C])
    assert not plan.blobs
    assert plan.models[0].action == REMOVE
    assert ["c:latest" in warning and "empty" in warning for warning in plan.warnings] == [True]


NAMES = [ModelName.parse(f"m{number}") for number in range(5)]
DIGESTS = [digest_of(bytes([number])) for number in range(4)]


@given(st.data())
def test_removal_any_sequence_never_removes_a_needed_blob(data):
    """Whatever a list leaves out before and after the removal, as long as it does not lack all but what is removed."""
    models = data.draw(
        st.dictionaries(
            st.sampled_from(NAMES),
            st.lists(st.sampled_from(DIGESTS), min_size=1, unique=True).map(lambda digests: manifest(*digests)),
            min_size=1,
        )
    )
    shelf = Shelf(models, barred=data.draw(st.sets(st.sampled_from(NAMES))))
    going = data.draw(st.sets(st.sampled_from(sorted(set(models) - shelf.barred) or NAMES), min_size=1))
    shelf.barred -= going
    # An undetectable lie needs a list that holds what was read and lacks another model from the beginning on.
    first = going if data.draw(st.booleans()) else set()
    shelf.hidden = first
    plan = plan_removal(shelf, going)
    shelf.hidden = data.draw(st.sets(st.sampled_from(NAMES)))
    before = set(shelf.blobs)
    carry_out_removal(shelf, plan)
    assert shelf.needed <= shelf.blobs
    assert before - shelf.blobs <= {blob.digest for blob in plan.of(REMOVE)}
