# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claim of a worker to its Ollama."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest
from fleet_worker.process.host_lock import AlreadyServedError, Claim

HOST = "http://127.0.0.1:11434"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory such as /run, with those of two services."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir(mode=0o755)
    return tmp_path


def path_of(run: Path, name: str) -> Path:
    return run / name / "status.sock.claim"


def test_claim_second_worker_is_refused_until_the_first_has_ended(run: Path) -> None:
    first = Claim(HOST, path_of(run, "one"))
    with pytest.raises(AlreadyServedError, match=r"one/status\.sock\.claim"):
        Claim("localhost:11434", path_of(run, "two"))
    Claim("127.0.0.1:11435", path_of(run, "two")).close()
    first.close()
    Claim(HOST, path_of(run, "two")).close()


def test_claim_of_its_own_under_a_second_name_of_the_directory_does_not_count(run: Path) -> None:
    (run / "current").symlink_to(run / "one")
    Claim(HOST, path_of(run, "one")).close()


def test_claim_same_directory_is_refused(run: Path) -> None:
    first = Claim(HOST, path_of(run, "one"))
    with pytest.raises(AlreadyServedError):
        Claim(HOST, path_of(run, "one"))
    with pytest.raises(AlreadyServedError):
        Claim(HOST, run / "one" / "other.sock.claim")
    first.close()


def test_claim_two_start_at_once_one_remains(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has read its clock, and stands still until the second one works."""
    held: list[Claim] = []
    original = Claim._hold

    def late(self: Claim) -> None:
        monkeypatch.setattr(Claim, "_hold", original)
        held.append(Claim(HOST, path_of(run, "two")))
        original(self)

    monkeypatch.setattr(Claim, "_hold", late)
    monkeypatch.setattr("fleet_worker.process.host_lock._YIELDS_WITHIN", 0.1)
    with pytest.raises(AlreadyServedError):
        Claim(HOST, path_of(run, "one"))
    held[0].close()


def test_claim_left_over_file_does_not_count(run: Path) -> None:
    path_of(run, "one").write_text("1 localhost:11434")
    Claim(HOST, path_of(run, "two")).close()
    Claim(HOST, path_of(run, "one")).close()


def test_claim_read_lock_of_another_user_does_not_count(run: Path) -> None:
    """All that a user can do who may read the file and not write it."""
    path = path_of(run, "one")
    path.write_text("1 localhost:11434")
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    Claim(HOST, path_of(run, "two")).close()
    Claim(HOST, path).close()
    os.close(descriptor)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_claim_in_a_directory_of_everybody_does_not_count(run: Path, mode: int) -> None:
    """Such as /run/lock, where any user can write."""
    first = Claim(HOST, path_of(run, "one"))
    (run / "one").chmod(mode)
    Claim(HOST, path_of(run, "two")).close()
    first.close()


def test_claim_abstract_socket_of_another_process_does_not_count(run: Path) -> None:
    """Any user can bind one; it was the claim once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(b"\0legionio-fleet-worker/localhost:11434")
        Claim(HOST, path_of(run, "one")).close()


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "garbage"])
def test_claim_odd_file_does_not_count(run: Path, kind: str) -> None:
    odd = path_of(run, "one")
    if kind == "directory":
        odd.mkdir()
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "link":
        odd.symlink_to("/dev/zero")
    else:
        odd.write_bytes(b"\xff" * 10_000)
    Claim(HOST, path_of(run, "two")).close()


def test_claim_directory_is_missing_worker_starts_without(run: Path) -> None:
    Claim(HOST, run / "nothing" / "x.claim").close()
