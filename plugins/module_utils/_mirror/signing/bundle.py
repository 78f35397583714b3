# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Signatures of models, in the format of OpenSSF Model Signing 1.0 (package model-signing) for self-managed keys.

A signature is a Sigstore bundle (JSON) with a DSSE envelope around an in-toto statement. The statement names the model
and lists files with their digests: the manifest and all blobs, by their paths in a models directory. So
``model_signing verify key --ignore-unsigned-files`` on such a directory checks the same signature. The predicate also
has the time of the signature, in a field that verifiers of version 1.0 ignore.

This code does not use the package, because it cannot be installed where modules and workers run: it needs sigstore 4,
which needs Python 3.10 and two dozen packages that no distribution of the targets has. This code accepts less than the
package: one signature, by a key whose id is known, over exactly the files of one model.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from ..._ollama.base64_text import read_base64, write_base64
from ..._ollama.digests import blob_file_name
from ..._ollama.dsse import signed_bytes
from ..._ollama.json_text import read_json
from ..._ollama.manifests import Manifest
from ..._ollama.names import ModelName
from ..._ollama.text import printable
from ..errors import MirrorError
from .keys import KeyRing, PrivateKey, shown

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"

#: The field of the predicate with the data of this collection.
_OWN = "legionio.ollama"

#: The description of how the files were hashed. No other one fits a models directory.
_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}

#: The largest signature in bytes. A model of 10,000 blobs needs 2.5 MB.
MAX_SIGNATURE = 8 * 1024 * 1024

#: Seconds by which the clock of a signer may be ahead.
_LEEWAY = 3600.0


class SignatureError(MirrorError):
    """The signature of a model is invalid, by an unknown key, or for another model."""

    code = "model_signature"


@dataclass(frozen=True)
class ModelSignature:
    """The content of a verified signature.

    :ivar digest: the digest of the signed manifest.
    :ivar key_id: the id of the key.
    :ivar moment: the time of the signature in seconds since 1970.
    """

    digest: str
    key_id: str
    moment: float

    @property
    def at(self) -> str:
        """The time of the signature in ISO 8601, for messages and records."""
        return _iso(self.moment)


def sign(name: ModelName, manifest: Manifest, key: PrivateKey, moment: Optional[float] = None) -> bytes:
    """Return the signature of a model.

    :param moment: the time of the signature in seconds since 1970; by default, now.
    """
    files = _files(name, manifest)
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name.full, "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": _SERIALIZATION,
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in files.items()],
            _OWN: {"signed_at": _iso(time.time() if moment is None else moment)},
        },
    }
    payload = json.dumps(statement, separators=(",", ":")).encode()
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.public.key_id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": write_base64(payload),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": write_base64(key.sign(signed_bytes(_PAYLOAD, payload))), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=1).encode()


def verify(content: bytes, name: ModelName, manifest: Manifest, keys: KeyRing) -> ModelSignature:
    """Verify the signature of a model, and return its content.

    :param content: the bundle, which is not trusted before the signature in it was checked.
    :raises SignatureError: if it does not prove that this manifest was published under this name.
    """
    if len(content) > MAX_SIGNATURE:
        raise SignatureError(f"its signature is larger than {MAX_SIGNATURE} bytes")
    bundle = _object(content, "its signature")
    if bundle.get("mediaType") != _BUNDLE:
        raise SignatureError(f"its signature is not a Sigstore bundle of version 0.3 ({_excerpt(bundle, 'mediaType')})")
    key_id = _at(bundle, "verificationMaterial", "publicKey", "hint")
    key = keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise SignatureError(
            f"it is signed with the key {printable(key_id, 16)}, and the known keys are: {keys}",
            remedy="Add the key to signature_keys if it is one of yours",
        )
    envelope = bundle.get("dsseEnvelope")
    signatures = _at(envelope, "signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise SignatureError("its signature bundle does not contain exactly one signature")
    payload, raw = read_base64(_at(envelope, "payload")), read_base64(_at(signatures[0], "sig"))
    if payload is None or raw is None or _at(envelope, "payloadType") != _PAYLOAD:
        raise SignatureError("its signature does not contain an in-toto statement")
    if not key.verifies(raw, signed_bytes(_PAYLOAD, payload)):
        raise SignatureError(
            f"its signature was not made with the key {shown(key.key_id)} that it names, or somebody has changed it"
        )
    return _checked(_object(payload, "the signed statement"), name, manifest, key.key_id)


def _checked(statement: Mapping[str, Any], name: ModelName, manifest: Manifest, key_id: str) -> ModelSignature:
    """Compare a signed statement with a model. The signature is valid, but the statement may be about anything."""
    predicate = statement.get("predicate")
    if statement.get("_type") != _STATEMENT or statement.get("predicateType") != _PREDICATE:
        raise SignatureError("the signed statement is not about a model")
    if _at(predicate, "serialization") != _SERIALIZATION:
        raise SignatureError("the signed statement hashes the files of a model in another way than this collection")
    subjects, resources = statement.get("subject"), _at(predicate, "resources")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(resources, list) or not resources:
        raise SignatureError("the signed statement does not name exactly one model with its files")
    if _at(subjects[0], "name") != name.full:
        raise SignatureError(f"the signature is for the model {printable(_at(subjects[0], 'name'), 200)}")
    found = {}
    for resource in resources:
        path, digest = _at(resource, "name"), _at(resource, "digest")
        if not isinstance(path, str) or path in found or _at(resource, "algorithm") != "sha256":
            raise SignatureError("the signed statement lists a file twice, or without a name or a SHA-256 digest")
        found[path] = digest
    # The statement must have exactly these paths and digests. Any other path, such as one with .., is refused.
    expected = _files(name, manifest)
    if found != expected:
        odd = next(path for path in (*expected, *found) if found.get(path) != expected.get(path))
        raise SignatureError(f"the signature is for other content: {printable(odd, 200)} differs")
    signed_at = _moment(_at(predicate, _OWN, "signed_at"))
    if signed_at is None:
        raise SignatureError(
            "the signature has no time, so an old model could pass for a new one",
            remedy="Sign the model with ollama_s3_publish",
        )
    if signed_at > time.time() + _LEEWAY:
        raise SignatureError(
            f"the signature was made in the future ({_iso(signed_at)})",
            remedy="Compare the clock of the machine that signs with the clock of this one",
        )
    return ModelSignature(manifest.digest, key_id, signed_at)


def _files(name: ModelName, manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of each file of a model in hexadecimal digits, by the file's path in a models directory."""
    files = {f"blobs/{blob_file_name(blob.digest)}": _hex(blob.digest) for blob in manifest.blobs}
    files["/".join(("manifests", *name.manifest_parts))] = _hex(manifest.digest)
    return dict(sorted(files.items()))


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        found = read_json(content.decode("utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SignatureError(f"{what} is not a JSON object")
    return found


def _at(value: Any, *path: str) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _excerpt(bundle: Mapping[str, Any], name: str) -> str:
    return printable(bundle.get(name), 80)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: Any) -> Optional[float]:
    if not isinstance(text, str) or not text.endswith("Z") or len(text) > 40:
        return None
    try:
        return datetime.fromisoformat(text[:-1] + "+00:00").timestamp()
    except (ValueError, OverflowError):
        return None
