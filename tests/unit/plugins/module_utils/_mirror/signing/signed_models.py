# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and models for tests of signatures, and signatures that are forged with a known key."""

from __future__ import annotations

import base64
import json

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.bundle import sign
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import KeyRing, PrivateKey
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = ModelName.parse("llama3:8b")
PAYLOAD_TYPE = b"application/vnd.in-toto+json"


def manifest_of(*contents):
    layers = [{"mediaType": "x", "digest": digest_of(content), "size": len(content)} for content in contents]
    return Manifest.parse(json.dumps({"schemaVersion": 2, "layers": layers}).encode())


MANIFEST = manifest_of(b"weights", b"template")


def new_key(curve=None):
    return ec.generate_private_key(curve or ec.SECP256R1())


def pem_of(key):
    """The public half, as openssl writes it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def private_pem_of(key, passphrase=None):
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


KEY, OTHER = new_key(), new_key()
SIGNER = PrivateKey(KEY)
RING = KeyRing([pem_of(KEY)])


def statement_of(content):
    return json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))


def forged(change, name=NAME, manifest=MANIFEST, key=SIGNER, moment=None):
    """A signature whose statement was changed, and signed with the key after that."""
    bundle = json.loads(sign(name, manifest, key, moment))
    statement = statement_of(json.dumps(bundle))
    change(statement)
    payload = json.dumps(statement).encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE, len(payload), payload)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(key.sign(signed)).decode()
    return json.dumps(bundle).encode()
