# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of models: what one shows, and every way in which one shows nothing.

Among them are defects that model-transparency had: an empty model that verifies (#661), a path that leaves the model's
directory (#647), and a signed policy that somebody else's word replaces (#666, #667).
"""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.bundle import (
    MAX_SIGNATURE,
    SignatureError,
    sign,
    verify,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import KeyRing, PrivateKey
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from .signed_models import KEY, MANIFEST, NAME, OTHER, RING, SIGNER, forged, manifest_of, new_key, pem_of, statement_of

GOOD = sign(NAME, MANIFEST, SIGNER)


def refusal(content, name=NAME, manifest=MANIFEST, ring=RING):
    with pytest.raises(SignatureError) as caught:
        verify(content, name, manifest, ring)
    return str(caught.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_verify_of_a_signature_of_a_known_key_shows_manifest_and_time(curve):
    key = new_key(curve)
    shown = verify(sign(NAME, MANIFEST, PrivateKey(key), 1_700_000_000.25), NAME, MANIFEST, KeyRing([pem_of(key)]))
    assert (shown.digest, shown.moment) == (MANIFEST.digest, 1_700_000_000.25)
    assert shown.at == "2023-11-14T22:13:20.250000Z"


def test_sign_lists_manifest_and_blobs_as_a_models_directory_has_them():
    statement = statement_of(GOOD)
    paths = [resource["name"] for resource in statement["predicate"]["resources"]]
    assert paths == sorted(paths)
    assert paths[-1] == "manifests/registry.ollama.ai/library/llama3/8b"
    assert all(path.startswith("blobs/sha256-") for path in paths[:-1]) and len(paths) == 3
    assert statement["subject"][0]["name"] == NAME.full


def test_verify_with_several_keys_finds_the_one_that_signed():
    shown = verify(GOOD, NAME, MANIFEST, KeyRing([pem_of(OTHER), pem_of(KEY)]))
    assert shown.key_id == SIGNER.public.key_id


def test_verify_with_another_key_names_both():
    ring = KeyRing([pem_of(OTHER)])
    text = refusal(GOOD, ring=ring)
    assert SIGNER.public.key_id[:16] in text and str(ring) in text and "signature_keys" in text


def test_verify_of_another_name_or_manifest_is_refused():
    assert "llama3:8b" in refusal(GOOD, name=ModelName.parse("llama3:70b"))
    assert "other content" in refusal(GOOD, manifest=manifest_of(b"weights", b"other"))
    assert "other content" in refusal(GOOD, manifest=manifest_of(b"weights"))


def test_verify_of_a_changed_signature_is_refused():
    bundle = json.loads(GOOD)
    for part in ("payload", "sig"):
        changed = json.loads(GOOD)
        place = changed["dsseEnvelope"] if part == "payload" else changed["dsseEnvelope"]["signatures"][0]
        place[part] = ("A" if place[part][40] != "A" else "B").join((place[part][:40], place[part][41:]))
        assert "not made with the key" in refusal(json.dumps(changed).encode())
    # The id of another known key does not make it that key's.
    bundle["verificationMaterial"]["publicKey"]["hint"] = PrivateKey(OTHER).public.key_id
    assert "not made with the key" in refusal(json.dumps(bundle).encode(), ring=KeyRing([pem_of(KEY), pem_of(OTHER)]))


def drop_time(statement):
    del statement["predicate"]["legionio.ollama"]


def resources(*listed):
    def change(statement):
        statement["predicate"]["resources"] = [
            {"name": name, "algorithm": "sha256", "digest": digest} for name, digest in listed
        ]

    return change


def add(name, digest="00" * 32, algorithm="sha256"):
    def change(statement):
        statement["predicate"]["resources"].append({"name": name, "algorithm": algorithm, "digest": digest})

    return change


def serialization(**changes):
    return lambda statement: statement["predicate"]["serialization"].update(changes)


@pytest.mark.parametrize(
    "change, text",
    [
        (resources(), "with its files"),  # 661
        (add("../../etc/passwd"), "other content"),  # 647
        (add("/etc/passwd"), "other content"),
        (add("blobs/../blobs/x"), "other content"),
        (add("blobs/sha256-" + "00" * 32), "other content"),
        (serialization(allow_symlinks=True), "another way"),  # 666, 667
        (serialization(ignore_paths=["blobs"]), "another way"),
        (serialization(method="shards", shard_size=1), "another way"),
        (serialization(hash_type="blake2b"), "another way"),
        (add("x", algorithm="blake2b"), "SHA-256 digest"),
        (add(7), "SHA-256 digest"),
        (lambda statement: statement["predicate"]["resources"].append(None), "SHA-256 digest"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "SHA-256 digest"),
        (lambda statement: statement["subject"].append(statement["subject"][0]), "one model"),
        (lambda statement: statement.update(subject=[]), "one model"),
        (lambda statement: statement.update(predicateType="https://model_signing/Digests/v0.1"), "not about a model"),
        (lambda statement: statement.update(_type="x"), "not about a model"),
        (lambda statement: statement.update(predicate=None), "another way"),
        (drop_time, "no time"),
        (lambda statement: statement["predicate"].update({"legionio.ollama": {"signed_at": "soon"}}), "no time"),
        (lambda s: s["predicate"].update({"legionio.ollama": {"signed_at": "2999-01-01T00:00:00Z"}}), "future"),
    ],
)
def test_verify_of_a_statement_that_a_known_key_signed_and_that_is_not_this_models_is_refused(change, text):
    assert text in refusal(forged(change))


def test_verify_of_a_signature_that_was_forged_without_a_change_is_good():
    assert verify(forged(lambda statement: None), NAME, MANIFEST, RING)


@pytest.mark.parametrize("seconds, good", [(3000, True), (4000, False)])
def test_verify_allows_for_a_signers_clock(seconds, good):
    content = sign(NAME, MANIFEST, SIGNER, time.time() + seconds)
    if good:
        assert verify(content, NAME, MANIFEST, RING)
    else:
        assert "clock" in refusal(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        GOOD[:-1],
        b" " * (MAX_SIGNATURE + 1),
        GOOD.replace(b"bundle.v0.3", b"bundle.v0.1"),
        GOOD.replace(b'"sig"', b'"gis"'),
        GOOD.replace(b'"keyid": ""', b'"keyid": ""}, {"sig": "AAAA"'),
        GOOD.replace(b"in-toto", b"out-toto"),
        GOOD.replace(b'"hint"', b'"tint"'),
    ],
    ids=range(12),
)
def test_verify_of_what_is_no_signature_is_refused(content):
    assert len(refusal(content)) < 400


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_verify_of_any_bytes_raises_nothing_else(content):
    refusal(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope"]),
)
def test_verify_of_a_bundle_with_anything_in_it_raises_nothing_else(value, name):
    refusal(json.dumps({**json.loads(GOOD), name: value}).encode())
