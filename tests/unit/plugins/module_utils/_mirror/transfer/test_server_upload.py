# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as a target, without a server: what is sent when, and what is kept back."""

from __future__ import annotations

import hashlib
import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.server_upload import ServerTarget
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import UploadSourceError

PIECES = (b"first", b"second", b"third")
WHOLE = b"".join(PIECES)


class Client:
    """Takes an upload, and can be made to wait before it takes more."""

    def __init__(self, error=None):
        self.error = error
        self.took = b""
        self.may_take = threading.Event()
        self.may_take.set()

    def push_blob(self, digest, source, *, size, call):
        for piece in source:
            if self.error:
                raise self.error
            self.may_take.wait(60)
            self.took += bytes(piece)
        return True


@pytest.fixture
def kept():
    return []


def target(client, kept):
    made = ServerTarget(client, "sha256:" + 64 * "0", len(WHOLE), kept.append)
    made.begin()
    return made


def send(made, pieces):
    length = 0
    for piece in pieces:
        length += len(piece)
        made.reached(length, memoryview(piece))
        made.passed(length, memoryview(piece), hashlib.sha256())


def test_commit_sends_the_last_byte_only_then(kept):
    client = Client()
    made = target(client, kept)
    send(made, PIECES)
    assert client.took == WHOLE[:-1]
    made.commit()
    assert client.took == WHOLE
    assert kept == [True]


def test_reached_returns_while_the_bytes_are_sent(kept):
    """What is reached goes without a wait, and has gone when it passed."""
    client = Client()
    client.may_take.clear()
    made = target(client, kept)
    made.reached(5, memoryview(PIECES[0]))
    assert client.took == b""  # and yet we are here, and could hash
    threading.Timer(0.05, client.may_take.set).start()
    made.passed(5, memoryview(PIECES[0]), hashlib.sha256())
    assert client.took == PIECES[0]
    made.suspend()


def test_suspend_aborts_the_upload(kept):
    client = Client()
    made = target(client, kept)
    send(made, PIECES[:2])
    made.suspend()
    assert client.took == b"".join(PIECES[:2])
    assert kept == []
    assert isinstance(made._error, UploadSourceError)


def test_passed_refused_upload_raises_the_servers_error(kept):
    made = target(Client(UploadSourceError("refused")), kept)
    with pytest.raises(UploadSourceError, match="refused"):
        send(made, PIECES)
    assert kept == []
