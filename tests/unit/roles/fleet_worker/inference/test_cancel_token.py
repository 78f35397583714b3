# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends the work on a request: whatever is under way, and what would follow it."""

from __future__ import annotations

from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference.cancel_token import CancelToken


def test_stop_ends_the_call_under_way() -> None:
    token = CancelToken()
    call = token.begin_call(5.0)
    assert (call.read_timeout, call.total_timeout, call.cancelled) == (5.0, 5.0, False)
    token.stop()
    assert call.cancelled and token.stopped and not token.abandoned
    assert token.verdict is Verdict.REQUEUE


def test_stop_before_the_call_ends_it_at_once() -> None:
    token = CancelToken()
    token.stop()
    assert token.begin_call(5.0).cancelled


def test_stop_ends_only_the_last_call() -> None:
    token = CancelToken()
    first, second = token.begin_call(5.0), token.begin_call(5.0)
    token.stop()
    assert (first.cancelled, second.cancelled) == (False, True)


def test_abandon_ends_the_work_for_good() -> None:
    token = CancelToken()
    ended: list[bool] = []
    token.cancel_by(lambda: ended.append(True))
    token.abandon()
    assert ended == [True]
    assert token.stopped and token.abandoned
    assert token.verdict is Verdict.ACK
