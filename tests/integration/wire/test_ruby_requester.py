# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A requester in Ruby gets its answer in each version, in whatever order the versions come."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .legionio_requester import CHAT_KEY, CHAT_MODEL, CONVERSATION, MESSAGES

SECRET = "ab" * 32
SCRIPT = Path(__file__).resolve().parent / "legionio_requester.rb"

#: What differs from one answer to the next.
NEVER_THE_SAME = ("correlation_id", "request_id", "idempotency_key", "reply_to", "timestamps", "routing", "audit")

OPTIONS = {"temperature": 0, "seed": 7}


def body_of(version: str) -> dict[str, Any]:
    if version == "typed":
        return {"request_type": "chat", "model": CHAT_MODEL, "messages": CONVERSATION, "options": OPTIONS}
    document: dict[str, Any] = json.loads((MESSAGES / f"version{version}_request.json").read_text())
    document.update(model=CHAT_MODEL, provider_instance="default", params={"messages": CONVERSATION, **OPTIONS})
    if version == "3":
        document["offering_id"] = f"fleet:ollama:default:inference:{CHAT_MODEL}"
    return document


def ask(url: str, versions: tuple[str, ...], encrypted: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Ask in these versions one after another; return the answers without their changing values."""
    requests = [{"body": body_of(version), "encrypt": encrypted} for version in versions]
    document = {"url": url, "secret": SECRET, "key": CHAT_KEY, "requests": requests}
    done = subprocess.run(
        ["ruby", str(SCRIPT)], input=json.dumps(document), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [
        (answer["type"], {name: value for name, value in answer["body"].items() if name not in NEVER_THE_SAME})
        for answer in json.loads(done.stdout)
    ]


@pytest.fixture(scope="module")
def worker(broker_with_topology: Any, ollama: Any, start_worker: Any) -> Iterator[Path]:
    with start_worker(
        broker_with_topology,
        secrets={"cluster-secret": SECRET},
        ollama={"host": ollama.url},
        lanes=[{"type": "chat", "model": CHAT_MODEL, "style": "shared"}],
        exchanges=["llm.fleet"],
        protocol={"secret_credential": "cluster-secret", "decrypt": True, "versions": [2, 3]},
    ) as log:
        yield log


def test_ruby_requester_gets_the_same_answers_in_any_order_of_versions(broker_with_topology: Any, worker: Path) -> None:
    url = broker_with_topology.amqp_url
    first = dict(zip(("typed", "2", "3"), ask(url, ("typed", "2", "3"))))
    assert all(kind == "llm.fleet.response" for kind, _body in first.values())
    assert "Paris" in first["typed"][1]["message"]["content"]
    assert first["2"][1]["content"] == first["typed"][1]["message"]["content"] == first["3"][1]["response"]["text"]
    for order in itertools.permutations(first):
        assert ask(url, order) == [first[version] for version in order]


def test_ruby_encrypted_request_gets_the_same_answer(broker_with_topology: Any, worker: Path) -> None:
    url = broker_with_topology.amqp_url
    for version in ("2", "3"):
        assert ask(url, (version,), encrypted=True) == ask(url, (version,))
