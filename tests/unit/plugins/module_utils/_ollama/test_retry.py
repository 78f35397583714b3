# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy

BUSY = errors.ServerBusyError("busy", status=503, server_message="busy")
FAILED = errors.ApiError("failed", status=500, server_message="failed")


@pytest.mark.parametrize(
    "error, repeatable, again",
    [
        (errors.ServerUnreachableError("refused"), False, True),
        (errors.ServerUnreachableError("refused"), True, True),
        (BUSY, False, True),
        (errors.ConnectionLostError("cut"), False, False),
        (errors.ConnectionLostError("cut"), True, True),
        (errors.ReadTimeoutError("silent"), False, False),
        (errors.ReadTimeoutError("silent"), True, True),
        (errors.TlsError("unknown authority"), True, False),
        (errors.DeadlineExceededError("over"), True, False),
        (errors.CallCancelledError("cancelled"), True, False),
        (errors.UnexpectedAnswerError("a page"), True, False),
        (errors.IncompleteResponseError("half", partial={}), True, False),
        (FAILED, True, False),
    ],
)
def test_retries_after_each_error(error: errors.OllamaError, repeatable: bool, again: bool) -> None:
    assert RetryPolicy().retries_after(error, failures=1, repeatable=repeatable) is again


def test_three_tries_in_all() -> None:
    assert [RetryPolicy().retries_after(BUSY, failures=n, repeatable=True) for n in (1, 2, 3)] == [True, True, False]
    assert not RetryPolicy(retries=0).retries_after(BUSY, failures=1, repeatable=True)


def test_the_wait_doubles_up_to_its_cap() -> None:
    policy = RetryPolicy(chance=lambda: 1.0)
    assert [policy.delay(n) for n in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]


def test_delay_after_any_number_of_failures_is_the_cap() -> None:
    assert RetryPolicy(chance=lambda: 1.0).delay(100_000) == 16.0


def test_the_wait_is_spread_below_its_full_value() -> None:
    assert RetryPolicy(chance=lambda: 0.0).delay(3) == 1.0
    waits = {RetryPolicy().delay(3) for _index in range(20)}
    assert len(waits) > 1
    assert all(1.0 <= wait <= 2.0 for wait in waits)
