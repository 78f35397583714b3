# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A requester of legion-llm 0.9, typed out with plain pika; nothing of the collection is imported.

:func:`accepted` is how it reads a reply: whatever is wrong with one, it silently waits on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

import pika
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MESSAGES = Path(__file__).resolve().parents[2] / "lab" / "legionio_messages"

CHAT_MODEL = "smollm2:135m"
EMBED_MODEL = "all-minilm:latest"
CHAT_KEY = "llm.fleet.inference.smollm2-135m"
EMBED_KEY = "llm.fleet.embed.all-minilm-latest"
CONVERSATION = [{"role": "user", "content": "What is the capital of France?"}]


class Requester:
    """A process of legion-llm 0.9: one connection, one reply queue, ids of its own for each request."""

    def __init__(self, amqp_url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        self._channel.queue_declare(self.reply_to, durable=False, auto_delete=True)

    def request(self, operation: str = "chat", **changes: Any) -> dict[str, Any]:
        ends = datetime.fromtimestamp(int(time.time()) + 30, timezone.utc)
        return {
            **json.loads((MESSAGES / "version2_request.json").read_text()),
            "request_id": f"req_{uuid.uuid4()}",
            "correlation_id": f"req_{uuid.uuid4()}",
            "idempotency_key": f"idem_{uuid.uuid4()}",
            "operation": operation,
            "model": CHAT_MODEL,
            "params": {"messages": CONVERSATION},
            "reply_to": self.reply_to,
            "expires_at": ends.isoformat().replace("+00:00", "Z"),
            **changes,
        }

    def publish(
        self,
        document: dict[str, Any],
        key: str = CHAT_KEY,
        exchange: str = "llm.fleet",
        seal: Optional[str] = None,
        **others: Any,
    ) -> None:
        """Publish a request, encrypted with a secret if there is one."""
        body, headers = json.dumps(document).encode(), {"legion_protocol_version": "2.0", "x-legion-version": "1.9.43"}
        if seal is not None:
            body, headers["iv"] = sealed(body, seal)
        properties = {
            "content_type": "application/json",
            "content_encoding": "identity",
            "type": "llm.fleet.request",
            "message_id": f"llm_fleet_req_{uuid.uuid4()}",
            "correlation_id": document.get("correlation_id"),
            "reply_to": document.get("reply_to"),
            "expiration": "30000",
            "delivery_mode": 1,
            "app_id": "lex-llm",
            "timestamp": int(time.time()),
            "headers": headers,
            **others,
        }
        self._channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=True)

    def reply(self, within: float = 60.0) -> tuple[pika.BasicProperties, dict[str, Any]]:
        properties, body = self._next(self.reply_to, within)
        return properties, json.loads(body)

    def get(self, queue: str) -> bytes:
        """Take a message out of any queue; return its body."""
        return self._next(queue, 60.0)[1]

    def _next(self, queue: str, within: float) -> tuple[pika.BasicProperties, bytes]:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            method, properties, body = self._channel.basic_get(queue, auto_ack=True)
            if method is not None:
                return properties, body
            self._connection.sleep(0.02)
        raise AssertionError(f"no reply within {within} s")

    def answer(self, document: dict[str, Any], key: str = CHAT_KEY, **others: Any) -> dict[str, Any]:
        """Ask, and return the answer as the requester reads it."""
        self.publish(document, key, **others)
        properties, body = self.reply()
        assert accepted(properties, body, document)
        return body

    def close(self) -> None:
        self._connection.close()


def accepted(properties: pika.BasicProperties, body: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether a requester takes a message for the answer to its request."""
    return (
        properties.type in ("llm.fleet.response", "llm.fleet.error")
        and body.get("protocol_version") in (2, "2")
        and body.get("operation") == document["operation"]
        and bool(body.get("correlation_id"))
        and body["correlation_id"] == document["correlation_id"]
        and properties.correlation_id in (None, body["correlation_id"])
        and properties.content_encoding in (None, "identity")
    )


_SIGNED = (
    *("request_id", "correlation_id", "idempotency_key", "operation", "provider", "provider_instance", "model"),
    *("params", "reply_to", "message_context", "caller", "trace_context", "timeout_seconds", "expires_at"),
)


def signed(document: dict[str, Any], secret: str, algorithm: str = "HS256", **changes: Any) -> dict[str, Any]:
    """A request with its token, as legion-crypt signs it: HMAC over two parts in base64, with the secret's text."""
    now = int(time.time())
    claims = {
        "iss": "legion-llm",
        "aud": "lex-llm-fleet-worker",
        "iat": now,
        "nbf": now,
        "exp": now + 180,
        "jti": str(uuid.uuid4()),
        **{name: document[name] for name in _SIGNED},
        **changes,
    }
    parts = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": algorithm}, claims))
    signature = b"" if algorithm == "none" else hmac.new(secret.encode(), parts, hashlib.sha256).digest()
    return {**document, "signed_token": (parts + b"." + _base64(signature)).decode()}


def sealed(body: bytes, secret: str) -> tuple[bytes, str]:
    """A body as legion-crypt encrypts it, and its header ``iv``."""
    nonce = os.urandom(12)
    both = AESGCM(hashlib.sha256(secret.encode()).digest()).encrypt(nonce, body, None)
    parts = [base64.b64encode(part) for part in (both[:-16], both[-16:])]
    return b"gcm:" + b":".join(parts), base64.b64encode(nonce).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
