# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.signature import SKEW, RequestSigner

SECRET = "s" * 32
TARGET = "/v1/blobs/sha256-" + "0" * 64
HEADERS = {"host": "10.0.0.1:11480", "range": "bytes=0-9"}


def test_accepts_signed_request():
    assert RequestSigner(SECRET).accepts(TARGET, RequestSigner(SECRET).signed(TARGET, HEADERS))


@pytest.mark.parametrize(
    "target, changes",
    [
        (TARGET + "/pieces", {}),
        (TARGET, {"range": "bytes=0-10"}),
        (TARGET, {"host": "10.0.0.2:11480"}),
        (TARGET, {"authorization": ""}),
        (TARGET, {"authorization": "LEGIONIO-HMAC 1:" + "0" * 64}),
        (TARGET, {"authorization": "Basic eDp5"}),
    ],
)
def test_accepts_changed_request_is_refused(target, changes):
    assert not RequestSigner(SECRET).accepts(target, {**RequestSigner(SECRET).signed(TARGET, HEADERS), **changes})


def test_accepts_another_secret_is_refused():
    assert not RequestSigner(SECRET).accepts(TARGET, RequestSigner("t" * 32).signed(TARGET, HEADERS))


@pytest.mark.parametrize("later, accepted", [(SKEW - 1, True), (SKEW + 1, False), (-SKEW - 1, False)])
def test_accepts_old_request_within_skew_only(later, accepted):
    signed = RequestSigner(SECRET, lambda: 1e9).signed(TARGET, HEADERS)
    assert RequestSigner(SECRET, lambda: 1e9 + later).accepts(TARGET, signed) is accepted
