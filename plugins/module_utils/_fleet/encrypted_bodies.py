# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Encrypted bodies, as LegionIO's requesters send them by default (setting ``fleet.compliance.encrypt_fleet``).

AES-256-GCM with the SHA-256 of the cluster secret's text as key: the header ``iv`` has 12 bytes in base64, and the body
is ``gcm:<base64>:<base64 of the tag>``. The property ``content_encoding`` often still says ``identity``, so it is not
read. No JSON begins with ``gcm:``. A body with the header ``iv`` that begins neither with ``gcm:`` nor like a JSON
object is encrypted in another, unknown way.

Answers are never encrypted: LegionIO's requesters do not decrypt them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import replace
from typing import Any

from .._ollama.base64_text import read_base64, write_base64
from .._ollama.errors import CollectionError, MissingDependencyError
from .messages import Message

#: The header with the nonce.
IV = "iv"

_MARK = b"gcm:"

#: The bytes at the start of a body that are searched for the start of a JSON object.
_START = 64

_NONCE_SIZE = 12
_TAG_SIZE = 16


class EncryptedBodyError(CollectionError):
    """A body cannot be decrypted."""

    code = "undecryptable"


def is_encrypted(message: Message) -> bool:
    """Return whether a body looks encrypted."""
    if message.body.startswith(_MARK):
        return True
    return IV in message.headers and not message.body[:_START].lstrip().startswith(b"{")


def encrypted_size(size: int) -> int:
    """Return the size in bytes of an encrypted body.

    :param size: the size of the clear body in bytes.
    """
    return len(_MARK) + _base64_size(size) + 1 + _base64_size(_TAG_SIZE)


def _base64_size(size: int) -> int:
    return (size + 2) // 3 * 4


class BodyCipher:
    """Decrypts and encrypts with one secret. For any number of threads.

    :param secret: the cluster secret as LegionIO writes it, in hexadecimal digits; its text is the key's source.
    :raises MissingDependencyError: without the package cryptography.
    """

    def __init__(self, secret: str) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise MissingDependencyError("cryptography", "decrypt and encrypt requests") from error
        self._cipher: Any = AESGCM(hashlib.sha256(secret.encode()).digest())
        self._refused = InvalidTag

    def decrypted(self, message: Message) -> Message:
        """Return the message with its body decrypted.

        :raises EncryptedBodyError: when the body cannot be decrypted.
        """
        parts = message.body.split(b":", 3)  # limited, because a stranger may have written it
        if len(parts) != 3 or parts[0] + b":" != _MARK:
            raise EncryptedBodyError("the encrypted body does not have the form gcm:<data>:<tag>")
        nonce, data, tag = read_base64(message.headers.get(IV)), read_base64(parts[1]), read_base64(parts[2])
        if nonce is None or len(nonce) != _NONCE_SIZE:
            raise EncryptedBodyError(f"the header {IV} of the encrypted body is not {_NONCE_SIZE} bytes in base64")
        if data is None or tag is None or len(tag) != _TAG_SIZE:
            raise EncryptedBodyError("the encrypted body is not base64")
        try:
            body = self._cipher.decrypt(nonce, data + tag, None)
        except self._refused:
            raise EncryptedBodyError(
                "the body was encrypted with another secret, or changed; compare the cluster secrets"
            ) from None
        properties = replace(message.properties, content_encoding="identity")
        headers = {name: value for name, value in message.headers.items() if name != IV}
        return Message(properties, headers, body)

    def encrypted(self, message: Message) -> Message:
        """Return a message with its body encrypted."""
        nonce = os.urandom(_NONCE_SIZE)
        return replace(
            message,
            headers={**message.headers, IV: write_base64(nonce)},
            body=self.sealed(nonce, message.body),
        )

    def sealed(self, nonce: bytes, body: bytes) -> bytes:
        """Return an encrypted body.

        :param nonce: 12 bytes that no other body was encrypted with.
        """
        both = self._cipher.encrypt(nonce, body, None)
        data, tag = both[:-_TAG_SIZE], both[-_TAG_SIZE:]
        return _MARK + base64.b64encode(data) + b":" + base64.b64encode(tag)
