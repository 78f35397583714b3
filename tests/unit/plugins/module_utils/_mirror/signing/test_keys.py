# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign models: which ones are taken, and what is said of the others."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import (
    KeyRing,
    PrivateKey,
    PublicKey,
    SigningKeyError,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from .signed_models import KEY, new_key, pem_of, private_pem_of


@pytest.mark.parametrize("passphrase", [None, "a passphrase"])
def test_load_reads_a_key_with_and_without_a_passphrase(tmp_path, passphrase):
    (tmp_path / "key.pem").write_bytes(private_pem_of(KEY, passphrase and passphrase.encode()))
    key = PrivateKey.load(str(tmp_path / "key.pem"), passphrase)
    assert PublicKey.parse(pem_of(KEY)).verifies(key.sign(b"content"), b"content")
    assert not PublicKey.parse(pem_of(new_key())).verifies(key.sign(b"content"), b"content")


def test_load_of_what_is_no_key_names_the_file_and_nothing_of_it(tmp_path):
    path = tmp_path / "key.pem"
    for content, passphrase in (
        (b"secret text", None),
        (private_pem_of(KEY, b"x"), "y"),
        (private_pem_of(KEY, b"x"), None),
    ):
        path.write_bytes(content)
        with pytest.raises(SigningKeyError, match=str(path)) as caught:
            PrivateKey.load(str(path), passphrase)
        assert "secret" not in str(caught.value)
    with pytest.raises(SigningKeyError, match="No such file"):
        PrivateKey.load(str(tmp_path / "missing"))


@pytest.mark.parametrize("text", ["", "x", pem_of(KEY)[:60], private_pem_of(KEY).decode()])
def test_parse_of_what_is_no_public_key_is_refused(text):
    with pytest.raises(SigningKeyError, match="BEGIN PUBLIC KEY"):
        PublicKey.parse(text)


def test_parse_of_another_kind_of_key_is_refused():
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    for text in (edwards.public_bytes(serialization.Encoding.PEM, form).decode(), pem_of(new_key(ec.SECP256K1()))):
        with pytest.raises(SigningKeyError, match="P-256"):
            PublicKey.parse(text)


def test_ring_without_keys_is_false_and_says_none():
    assert not KeyRing(()) and str(KeyRing(())) == "none"
