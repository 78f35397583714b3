# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed models over a real S3 server: from the module that publishes to the one that imports."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mirror_lab import Model, assert_sound, digest_of

NAME = "llama3:8b"


@pytest.fixture
def key(tmp_path):
    """A key as openssl makes one: the file of its private half, and the text of its public half."""
    made = ec.generate_private_key(ec.SECP256R1())
    none = serialization.NoEncryption()
    private = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, none)
    (tmp_path / "signing.pem").write_bytes(private)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return tmp_path / "signing.pem", made.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.fixture
def demand(run, tmp_path, key):
    """Import into a store of its own, as a node that demands signatures of the key."""

    def call(*flags, policy="enforce", **options):
        options = {"signature_policy": policy, "signature_keys": [key[1]], "name": NAME, **options}
        return run("ollama_s3_import", *flags, models_path=tmp_path / "node", **options)

    return call


def test_enforce_imports_a_signed_model_and_refuses_an_unsigned_one(run, mirror, path, demand, key, tmp_path):
    model = Model(NAME, [b"weights", b"template"]).store(path)
    assert run("ollama_s3_publish", name=NAME, models_path=path).result["signed"] == []
    refused = demand()
    assert refused.failed and refused.result["error_code"] == "model_unsigned", refused.result
    assert "llama3:8b" in refused.result["msg"] and refused.result["policy"] == "*: enforce"
    assert not (tmp_path / "node/manifests").exists()

    predicted = run("ollama_s3_publish", "--check", name=NAME, models_path=path, signing_key=key[0])
    signed = run("ollama_s3_publish", name=NAME, models_path=path, signing_key=key[0])
    for outcome in (predicted, signed):
        assert outcome.changed and outcome.result["signed"] == [NAME] and outcome.result["blobs_uploaded"] == 0
    assert not run("ollama_s3_publish", name=NAME, models_path=path, signing_key=key[0]).changed

    assert demand("--check").changed
    assert demand().changed
    assert_sound(tmp_path / "node", model)
    assert not demand().changed


def test_enforce_refuses_a_model_of_another_writer(run, mirror, path, demand, key, tmp_path):
    Model(NAME, [b"weights"]).store(path)
    run("ollama_s3_publish", name=NAME, models_path=path, signing_key=key[0])
    assert demand().changed
    other = Model(NAME, [b"poison"]).store(tmp_path / "other")
    assert run("ollama_s3_publish", name=NAME, models_path=tmp_path / "other").changed
    assert demand().result["error_code"] == "model_unsigned"
    warned = demand(policy="warn")
    assert not warned.failed and "warn of *" in json.dumps(warned.result["warnings"])
    assert_sound(tmp_path / "node", other)


def test_enforce_refuses_an_older_model_unless_rollback_is_allowed(run, mirror, path, demand, key, tmp_path):
    old = Model(NAME, [b"old"]).store(path)
    run("ollama_s3_publish", name=NAME, models_path=path, signing_key=key[0])
    old_manifest = mirror.manifest(old.parsed)
    new = Model(NAME, [b"new"]).store(tmp_path / "newer")
    run("ollama_s3_publish", name=NAME, models_path=tmp_path / "newer", signing_key=key[0])
    assert demand().changed
    mirror.write(mirror.layout.manifest_key(old.parsed), old_manifest, digest_of(old_manifest))
    refused = demand()
    assert refused.result["error_code"] == "model_rollback" and "allow_rollback" in refused.result["msg"]
    assert_sound(tmp_path / "node", new)
    assert demand(allow_rollback=True).changed
    assert_sound(tmp_path / "node", old)


def test_removal_of_a_signed_model_leaves_no_signature(run, mirror, path, key):
    Model(NAME, [b"weights"]).store(path)
    run("ollama_s3_publish", name=NAME, models_path=path, signing_key=key[0])
    assert any("signatures/" in state.key for state in mirror.entries(""))
    assert run("ollama_s3_publish", name=NAME, state="absent").changed
    assert not any("signatures/" in state.key for state in mirror.entries(""))
