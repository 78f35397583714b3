# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of the fault tests: what they find, and what each test may allow."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Optional

import pytest
import requesters
from requesters import Asker, Record


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    Record.faults.clear()
    yield
    Record.faults.clear()


def message(request: str, number: int = 0, *, error: Optional[str] = None, marked: bool = False) -> Any:
    headers = {"x-legion-fleet-error": error} if error else {}
    headers.update({"x-legion-fleet-redelivered": 1} if marked else {})
    return SimpleNamespace(
        type="llm.fleet.response", correlation_id=request, message_id=f"{request}-{number}", headers=headers
    )


def kinds(record: Record, **options: bool) -> list[str]:
    return [found.kind for found in record.verdict(**options).findings]


def test_record_of_a_request_without_an_answer_calls_it_lost() -> None:
    record = Record()
    record.sent("r")
    assert kinds(record) == ["lost"]
    assert kinds(record, complete=False) == []
    record.give_up("r")
    assert kinds(record) == []


def test_record_of_an_error_wants_a_test_that_expects_its_code() -> None:
    for errors, found in (([], ["failed"]), (["inference_failed"], []), (["model_not_loaded"], ["failed"])):
        record = Record(errors)
        record.sent("r")
        record.received(message("r", error="inference_failed"))
        assert kinds(record) == found


def test_record_of_a_repeated_answer_wants_a_fault() -> None:
    record = Record()
    record.sent("r")
    record.received(message("r"))
    record.received(message("r", 1, marked=True))
    assert kinds(record) == ["doubled"]
    Record.broken("a worker was killed")
    record.received(message("r", 2, marked=True))
    assert kinds(record) == []


def test_record_of_who_breaks_things_all_the_time_lets_that_explain_repeats() -> None:
    record = Record(always_broken=True)
    record.sent("r")
    record.received(message("r"))
    record.received(message("r", 1, marked=True))
    assert kinds(record) == []


class Channel:
    """A channel with some messages in the reply queue."""

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)

    def basic_get(self, _queue: str) -> Any:
        if not self.messages:
            return None, None, None
        return SimpleNamespace(redelivered=False, delivery_tag=1), self.messages.pop(0), b"{}"

    def basic_ack(self, _tag: int) -> None:
        pass


def test_asker_that_collects_late_finds_an_unmarked_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel()
    monkeypatch.setattr(Asker, "_with_channel", lambda _self, act, _within=0.0: None if act is None else act(channel))
    monkeypatch.setattr(channel, "queue_declare", lambda *_arguments, **_options: None, raising=False)
    monkeypatch.setattr(channel, "basic_publish", lambda *_arguments, **_options: None, raising=False)
    asker = Asker(None, "lane")
    request = asker.ask()
    channel.messages = [message(request)]
    asker.wait()
    assert kinds(asker.record) == []
    channel.messages = [message(request, 1)]
    asker.collect_late()
    assert kinds(asker.record) == ["doubled"]


def test_asker_that_collects_late_survives_a_broker_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_arguments: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(Asker, "__init__", lambda _self: None)
    asker = Asker()  # type: ignore[call-arg]
    asker._connection = None
    monkeypatch.setattr(Asker, "_with_channel", gone)
    asker.collect_late()
    assert requesters.LATE < 60.0
