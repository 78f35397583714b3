# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The retries of reads and uploads: how many attempts, which errors, which pauses."""

from __future__ import annotations

import random

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.retry import (
    OBJECT_READS,
    PIECE_READS,
    RANGE_READS,
    SDK_RETRIES,
    MirrorRetry,
    is_upload_repeated,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.client import connect
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import ConnectionLostError, TlsError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy


@pytest.mark.parametrize(
    "reads, attempts, pauses",
    [
        (OBJECT_READS, 4, [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]),
        (RANGE_READS, 6, [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.0, 16.0), (0.0, 20.0)]),
        (PIECE_READS, 6, [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (5.0, 10.0)]),
    ],
)
def test_pause_each_kind_of_read_has_its_attempts_and_bounds(
    monkeypatch: pytest.MonkeyPatch, reads: MirrorRetry, attempts: int, pauses: list[tuple[float, float]]
) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(random, "uniform", lambda least, most: bounds.append((least, most)) or least)
    assert [reads.pause(failures) for failures in range(1, len(pauses) + 1)] == [least for least, _most in pauses]
    assert bounds == pauses
    assert [reads.is_final(failures) for failures in (attempts - 1, attempts)] == [False, True]


def test_is_final_requests_at_the_same_time_share_their_failures() -> None:
    assert not PIECE_READS.is_final(PIECE_READS.attempts * 3 - 1, requests=3)
    assert PIECE_READS.is_final(PIECE_READS.attempts * 3, requests=3)


@pytest.mark.parametrize(
    "error, repeated_by",
    [
        (errors.MirrorUnreachableError, {"object", "range", "piece"}),
        (errors.MirrorBusyError, {"range", "piece"}),
        (errors.NotS3Error, {"range", "piece"}),
        (errors.ObjectChangedError, {"piece"}),
        (errors.MirrorCredentialsError, set()),
        (errors.ObjectMissingError, set()),
    ],
)
def test_errors_kinds_of_reads_repeat_only_what_may_be_gone(
    error: type[errors.MirrorError], repeated_by: set[str]
) -> None:
    kinds = {"object": OBJECT_READS, "range": RANGE_READS, "piece": PIECE_READS}
    assert {kind for kind, reads in kinds.items() if issubclass(error, reads.errors)} == repeated_by


def test_sdk_retries_reach_the_client() -> None:
    client = connect(S3Settings("models", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b"))
    assert {name: client.meta.config.retries[name] for name in SDK_RETRIES} == {
        "total_max_attempts": 5,
        "mode": "standard",
    }


@pytest.mark.parametrize(
    "error, failures, repeated",
    [
        (ConnectionLostError("cut"), 1, True),
        (ConnectionLostError("cut"), 2, False),
        (TlsError("unknown authority"), 1, False),
        (errors.MirrorUnreachableError("the mirror's reads have repeated it"), 1, False),
    ],
)
def test_is_upload_repeated_failures_of_the_server_within_the_policy(
    error: Exception, failures: int, repeated: bool
) -> None:
    assert is_upload_repeated(error, RetryPolicy(retries=1), failures=failures) is repeated
