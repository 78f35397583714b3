# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and publications with signatures: what comes, what does not, and what cannot be played back."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorAccessError,
    MirrorUnreachableError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import signature_check
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_publish import ModelPublisher
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_sync import ModelSync, ServerAccess
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.signature_check import (
    ModelRollbackError,
    ModelUnsignedError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.bundle import SignatureError, sign, verify
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import PrivateKey
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.policy import (
    SignaturePolicy,
    SignatureRule,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

from ..signing.signed_models import OTHER, RING, SIGNER

NAME = ModelName.parse("llama3:8b")
ENFORCE, WARN = SignaturePolicy("enforce", keys=RING), SignaturePolicy("warn", keys=RING)


@pytest.fixture
def store(tmp_path):
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        yield opened


def put(mirror, *contents, name=NAME, key=SIGNER, moment=None):
    """Put a model into a mirror with a signature; return its manifest."""
    manifest = Manifest.parse(mirror.put(name.full, *contents))
    if key is not None:
        mirror.objects[mirror.layout.signature_key(name, manifest.digest)] = sign(name, manifest, key, moment)
    return manifest


def importer(mirror, store, policy, *names):
    made = ModelImport(mirror, store, names or [NAME])
    made.demand_signatures(policy)
    return made


def test_import_of_a_signed_model_brings_it_and_a_second_finds_nothing_to_do(memory_mirror, store):
    manifest = put(memory_mirror, b"weights")
    importer(memory_mirror, store, ENFORCE).apply()
    assert store.manifest(NAME) == manifest.raw
    assert not importer(memory_mirror, store, ENFORCE).plan().changed


@pytest.mark.parametrize("key, error", [(None, ModelUnsignedError), (PrivateKey(OTHER), SignatureError)])
def test_import_of_an_unsigned_model_is_refused_before_anything_comes(memory_mirror, store, key, error):
    manifest = put(memory_mirror, b"weights", key=key)
    with pytest.raises(error) as caught:
        importer(memory_mirror, store, ENFORCE).apply()
    text = str(caught.value)
    assert "llama3:8b" in text and "enforce of *" in text and str(RING) in text
    assert caught.value.details["name"] == NAME.full and caught.value.details["policy"] == "*: enforce"
    assert store.manifest(NAME) is None
    assert not any(kind == "range" for kind, _key in memory_mirror.store.requests)
    warned = importer(memory_mirror, store, WARN)
    plan = warned.apply()
    assert store.manifest(NAME) == manifest.raw
    assert len(plan.warnings) == 1 and "warn of *" in plan.warnings[0]


def test_import_of_a_model_that_is_there_already_is_refused_all_the_same(memory_mirror, store):
    put(memory_mirror, b"weights", key=None)
    importer(memory_mirror, store, SignaturePolicy()).apply()
    with pytest.raises(ModelUnsignedError):
        importer(memory_mirror, store, ENFORCE).plan()


def test_import_of_an_altered_manifest_is_refused(memory_mirror, store):
    signed = put(memory_mirror, b"weights")
    altered = Manifest.parse(memory_mirror.put(NAME.full, b"poison"))
    signature = memory_mirror.objects[memory_mirror.layout.signature_key(NAME, signed.digest)]
    memory_mirror.objects[memory_mirror.layout.signature_key(NAME, altered.digest)] = signature
    with pytest.raises(SignatureError, match="other content"):
        importer(memory_mirror, store, ENFORCE).plan()


def test_import_by_rules_demands_signatures_of_the_models_that_match(memory_mirror, store):
    other = ModelName.parse("phi")
    put(memory_mirror, b"weights")
    put(memory_mirror, b"small", name=other, key=None)
    policy = SignaturePolicy("off", (SignatureRule("llama3:*", "enforce"),), RING)
    importer(memory_mirror, store, policy, NAME, other).apply()
    assert store.manifest(other) is not None
    asked = [key for _kind, key in memory_mirror.store.requests if "signatures/" in key]
    assert asked == [memory_mirror.layout.signature_key(NAME, Manifest.parse(store.manifest(NAME)).digest)]


def test_import_of_an_older_model_is_refused_unless_a_rollback_is_allowed(memory_mirror, store):
    old = put(memory_mirror, b"old", moment=1_700_000_000.0)
    put(memory_mirror, b"new", moment=1_700_000_001.0)
    importer(memory_mirror, store, ENFORCE).apply()
    memory_mirror.put(NAME.full, b"old")  # its signature is still there, and good
    with pytest.raises(ModelRollbackError, match="allow_rollback"):
        importer(memory_mirror, store, ENFORCE).apply()
    assert any("signed at" in warning for warning in importer(memory_mirror, store, WARN).plan().warnings)
    allowed = SignaturePolicy("enforce", keys=RING, allow_rollback=True)
    importer(memory_mirror, store, allowed).apply()
    assert store.manifest(NAME) == old.raw
    assert not importer(memory_mirror, store, ENFORCE).plan().changed, "it is the one that was imported last"


def test_older_signature_of_the_same_model_does_not_lower_the_record(memory_mirror, store):
    """Somebody who can write to the mirror puts back the old signatures of a model, one after the other."""
    put(memory_mirror, b"good", moment=1_700_000_000.0)
    old = dict(memory_mirror.objects)
    put(memory_mirror, b"bad", moment=1_700_000_001.0)
    withdrawn = dict(memory_mirror.objects)
    put(memory_mirror, b"good", moment=1_700_000_002.0)
    importer(memory_mirror, store, ENFORCE).apply()
    memory_mirror.objects.update(old)
    kept = importer(memory_mirror, store, ENFORCE)
    assert not kept.plan().changed
    kept.remember()
    memory_mirror.objects.update(withdrawn)
    with pytest.raises(ModelRollbackError):
        importer(memory_mirror, store, ENFORCE).plan()


def test_record_of_a_signature_is_written_before_the_manifest(memory_mirror, store, monkeypatch):
    put(memory_mirror, b"old", moment=1_700_000_000.0)
    old = dict(memory_mirror.objects)
    put(memory_mirror, b"new", moment=1_700_000_001.0)

    def killed(name, raw):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            importer(memory_mirror, store, ENFORCE).apply()
    memory_mirror.objects.update(old)
    with pytest.raises(ModelRollbackError):
        importer(memory_mirror, store, ENFORCE).plan()


def test_unchanged_import_by_a_reader_of_the_store_succeeds_without_a_record(memory_mirror, store, monkeypatch):
    put(memory_mirror, b"weights")
    importer(memory_mirror, store, SignaturePolicy()).apply()
    reader = importer(memory_mirror, store, ENFORCE)
    assert not reader.plan().changed

    def refused(*_arguments, **_options):
        raise NotPermittedError("no permission", remedy="none")

    monkeypatch.setattr(signature_check, "write_signed", refused)
    reader.remember()


def test_import_of_an_older_model_in_another_spelling_is_refused(memory_mirror, store):
    put(memory_mirror, b"new", moment=1_700_000_001.0)
    importer(memory_mirror, store, ENFORCE).apply()
    spelled = ModelName.parse("LLAMA3:8b")
    put(memory_mirror, b"old", name=spelled, moment=1_700_000_000.0)
    with pytest.raises(ModelRollbackError):
        importer(memory_mirror, store, ENFORCE, spelled).plan()


def test_import_of_an_older_model_after_a_removal_is_refused(memory_mirror, store):
    put(memory_mirror, b"new", moment=1_700_000_001.0)
    importer(memory_mirror, store, ENFORCE).apply()
    store.remove_manifest(NAME)
    put(memory_mirror, b"old", moment=1_700_000_000.0)
    with pytest.raises(ModelRollbackError):
        importer(memory_mirror, store, ENFORCE).plan()


@pytest.mark.parametrize("error, warns", [(MirrorAccessError("no"), True), (MirrorUnreachableError("gone"), False)])
def test_import_whose_signature_cannot_be_read_is_refused(memory_mirror, store, error, warns):
    put(memory_mirror, b"weights")
    get = memory_mirror.store.get

    def refuse(key, limit):
        if "signatures/" in key:
            raise error
        return get(key, limit)

    memory_mirror.store.get = refuse
    with pytest.raises(type(error)):
        importer(memory_mirror, store, ENFORCE).plan()
    if warns:
        assert importer(memory_mirror, store, WARN).plan().warnings == ("no.",)
    else:
        with pytest.raises(type(error)):
            importer(memory_mirror, store, WARN).plan()


def test_sync_of_an_unsigned_model_is_refused_also_if_the_server_has_it(memory_mirror, memory_server):
    put(memory_mirror, b"weights", key=None)

    def syncer(policy):
        made = ModelSync(memory_mirror, opened, [NAME], ServerAccess(memory_server, memory_server, RetryPolicy(0)))
        made.demand_signatures(policy)
        return made

    with Store(StoreSettings(str(memory_server.path))) as opened:
        syncer(SignaturePolicy()).apply()
        with pytest.raises(ModelUnsignedError):
            syncer(ENFORCE).plan()


def published(mirror, store, signer):
    publisher = ModelPublisher(mirror, store, [NAME], signer=signer)
    plan = publisher.plan()
    publisher.apply(plan)
    return plan


@pytest.fixture
def stored(memory_mirror, store):
    """A store that has the model, and a mirror that has nothing any more."""
    raw = memory_mirror.put(NAME.full, b"weights")
    ModelImport(memory_mirror, store, [NAME]).apply()
    memory_mirror.objects.clear()
    memory_mirror.store.requests.clear()
    return Manifest.parse(raw)


def test_publish_with_a_key_signs_once_and_before_the_manifest(memory_mirror, store, stored):
    plan = published(memory_mirror, store, SIGNER)
    assert plan.signed == (NAME,)
    key = memory_mirror.layout.signature_key(NAME, stored.digest)
    assert verify(memory_mirror.objects[key], NAME, stored, RING)
    puts = [where for kind, where in memory_mirror.store.requests if kind == "put"]
    assert puts.index(key) < puts.index(memory_mirror.layout.manifest_key(NAME))
    again = ModelPublisher(memory_mirror, store, [NAME], signer=SIGNER).plan()
    assert not again.changed and again.signed == ()


def test_publish_with_a_key_signs_a_model_that_is_there_unsigned_or_by_another_key(memory_mirror, store, stored):
    assert published(memory_mirror, store, None).signed == ()
    for signer in (PrivateKey(OTHER), SIGNER):
        plan = published(memory_mirror, store, signer)
        assert plan.changed and plan.signed == (NAME,) and plan.bytes_to_transfer == 0
    assert verify(memory_mirror.objects[memory_mirror.layout.signature_key(NAME, stored.digest)], NAME, stored, RING)


def test_publish_of_an_older_model_signs_it_anew(memory_mirror, store, stored):
    published(memory_mirror, store, SIGNER)
    key = memory_mirror.layout.signature_key(NAME, stored.digest)
    first = verify(memory_mirror.objects[key], NAME, stored, RING)
    put(memory_mirror, b"newer")
    assert published(memory_mirror, store, SIGNER).signed == (NAME,)
    assert verify(memory_mirror.objects[key], NAME, stored, RING).moment > first.moment


def test_removal_of_a_model_takes_its_signatures_along(memory_mirror, store, stored):
    published(memory_mirror, store, SIGNER)
    memory_mirror.remove_manifest(NAME)
    assert not any("signatures/" in key for key in memory_mirror.objects)
