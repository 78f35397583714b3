# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The keys that sign models and broadcasts: keys of elliptic curves, as in OpenSSF Model Signing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Optional

from ..._ollama.errors import CollectionError, MissingDependencyError

#: The hash of each curve that model-signing knows, by its size in bits.
_HASHES = {256: "SHA256", 384: "SHA384", 521: "SHA512"}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")

#: The number of characters of a key's id in messages.
_SHOWN = 16


class SigningKeyError(CollectionError):
    """A key cannot be read, or is of an unsupported kind."""

    code = "signing_key"


def shown(key_id: str) -> str:
    """Return the short id of a key for messages."""
    return key_id[:_SHOWN]


class PublicKey:
    """A public key, which verifies signatures.

    :ivar key_id: the SHA-256 of the key's PEM in hexadecimal digits, the key's name in a signature of model-signing.
    """

    def __init__(self, key: Any) -> None:
        """:param key: a public key of the package cryptography."""
        self._key = key
        self._hash = _hash_of(key)
        self.key_id = hashlib.sha256(_pem(key)).hexdigest()

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read a key.

        :param text: the key in PEM.
        :raises SigningKeyError: if the text is not a public key of a supported curve.
        :raises MissingDependencyError: without the package cryptography.
        """
        serialization = _library().serialization
        try:
            return cls(serialization.load_pem_public_key(text.strip().encode() + b"\n"))
        except (ValueError, TypeError, _library().unsupported) as error:
            raise SigningKeyError(
                "A signature key is not a public key in PEM",
                remedy="Give the text that begins with -----BEGIN PUBLIC KEY-----, as openssl ec -pubout writes it",
            ) from error

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Return whether this key has signed some content with a signature."""
        library = _library()
        try:
            self._key.verify(signature, content, library.ec.ECDSA(self._hash))
        except library.wrong:
            return False
        return True


class PrivateKey:
    """A private key, which signs.

    :ivar public: the public key of the pair.
    """

    def __init__(self, key: Any) -> None:
        """:param key: a private key of the package cryptography."""
        self._key = key
        self._hash = _hash_of(key)
        self.public = PublicKey(key.public_key())

    @classmethod
    def load(cls, path: str, passphrase: Optional[str] = None) -> PrivateKey:
        """Read a key from a file in PEM.

        :raises SigningKeyError: if the file cannot be read, or is not a private key of a supported curve.
        :raises MissingDependencyError: without the package cryptography.
        """
        library = _library()
        try:
            with open(path, "rb") as file:
                content = file.read(1024 * 1024)
        except OSError as error:
            raise SigningKeyError(
                f"The signing key {path} cannot be read: {error.strerror}", remedy="Correct signing_key", path=path
            ) from error
        try:
            return cls(library.serialization.load_pem_private_key(content, passphrase.encode() if passphrase else None))
        except (ValueError, TypeError, library.unsupported) as error:
            # The library's message is not shown, because it may quote the key.
            raise SigningKeyError(
                f"The signing key {path} is not a private key in PEM, or the passphrase is wrong",
                remedy="Make one with openssl ecparam -name prime256v1 -genkey -noout",
                path=path,
            ) from error

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return self.public.key_id

    @property
    def ring(self) -> KeyRing:
        """A key ring with only the public key of the pair."""
        ring = KeyRing(())
        ring.add(self.public)
        return ring

    def sign(self, content: bytes) -> bytes:
        """Return the signature of some content."""
        signature: bytes = self._key.sign(content, _library().ec.ECDSA(self._hash))
        return signature


class KeyRing:
    """The trusted public keys."""

    def __init__(self, texts: Iterable[str]) -> None:
        """:param texts: public keys in PEM."""
        self._keys = {key.key_id: key for key in map(PublicKey.parse, texts)}

    def add(self, key: PublicKey) -> None:
        """Trust a key."""
        self._keys[key.key_id] = key

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __str__(self) -> str:
        return ", ".join(map(shown, self._keys)) or "none"

    def get(self, key_id: str) -> Optional[PublicKey]:
        """Return the key with an id; ``None`` if the ring does not have it."""
        return self._keys.get(key_id)


class _Library:
    def __init__(self) -> None:
        try:
            from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError as error:
            raise MissingDependencyError("cryptography", "sign models and check their signatures") from error
        self.wrong, self.unsupported = InvalidSignature, UnsupportedAlgorithm
        self.hashes, self.serialization, self.ec = hashes, serialization, ec


def _library() -> _Library:
    return _Library()


def _hash_of(key: Any) -> Any:
    curve = getattr(key, "curve", None)
    if curve is None or curve.name not in _CURVES:
        raise SigningKeyError(
            "A signature key is not on one of the curves P-256, P-384 and P-521 of OpenSSF Model Signing",
            remedy="Make one with openssl ecparam -name prime256v1 -genkey -noout",
        )
    return getattr(_library().hashes, _HASHES[curve.key_size])()


def _pem(key: Any) -> bytes:
    serialization = _library().serialization
    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem
