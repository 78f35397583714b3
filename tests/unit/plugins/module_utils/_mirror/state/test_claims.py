# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that keep out of each other's way where locks do nothing, fail, or do not reach the other host."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.single_file import Fetch
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state import claims
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.claims import Identity, claimed
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.lock import exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import INTERVAL
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, DiskFullError, Ownership
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

OURS = Ownership(None, None, 0o600, 0o700)
ME = Identity.own()
OTHER = f"x.{'0' * 16}.claim"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(claims, "_PAUSE", 0.01)


@pytest.fixture
def directory(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


def test_claimed_alone_nobody_waits_and_nothing_is_left(directory):
    told = []
    for _turn in range(2):
        with claimed(directory, "x", OURS, told.append):
            assert len(directory.names()) == 1
    assert told == []
    assert directory.names() == []


def test_claimed_error_inside_releases_the_claim(directory):
    with pytest.raises(ZeroDivisionError), claimed(directory, "x", OURS, print):
        raise ZeroDivisionError
    assert directory.names() == []


def test_claimed_full_quota_is_named_and_nothing_is_left(directory, monkeypatch):
    def refuse(_descriptor, _content):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(DiskFullError, match="quota"), claimed(directory, "x", OURS, print):
        pass
    assert directory.names() == []


def test_claimed_full_disk_that_the_last_close_reports_is_no_failure(directory, monkeypatch):
    close = os.close

    def late(descriptor):
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        close(descriptor)
        if regular:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with exclusive(directory, OURS, print):
        monkeypatch.setattr(os, "close", late)
    monkeypatch.undo()
    assert directory.names() == ["lock"]


def test_claimed_other_stem_is_no_obstacle(directory):
    told = []
    for one, other in (("x", "x.y"), ("x.y", "x"), ("a", "b")):
        with claimed(directory, one, OURS, told.append), claimed(directory, other, OURS, told.append):
            pass
    assert told == []


def begun_by(identity, directory, age=0.0, content=None):
    """Leave a claim of another process."""
    path = directory.join(OTHER)
    with open(path, "wb") as file:
        file.write(identity.line if content is None else content)
    moment = time.time() - age
    os.utime(path, (moment, moment))


GONE = subprocess.run(
    [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
).stdout
DEAD = ME._replace(process=GONE.strip(), began="1")
ELSEWHERE = ME._replace(host="elsewhere", boot="another", process="17")


@pytest.mark.parametrize(
    "identity, age",
    [
        (DEAD, 0),
        (ME._replace(began="1"), 0),  # another process has its number now
        (ME._replace(boot="before", namespace=claims._OF_THE_MACHINE), 0),
        (ELSEWHERE, 301),
        (ELSEWHERE, -301),
        (ME._replace(namespace="pid:[7]"), 301),
    ],
)
def test_claimed_claim_of_a_dead_process_is_ignored(directory, monkeypatch, identity, age):
    monkeypatch.setattr(Identity, "own", lambda: ME._replace(namespace=claims._OF_THE_MACHINE))
    if identity.namespace == ME.namespace:
        identity = identity._replace(namespace=claims._OF_THE_MACHINE)
    begun_by(identity, directory, age)
    told = []
    with claimed(directory, "x", OURS, told.append):
        pass
    assert told == []
    assert directory.names() == []


@pytest.mark.parametrize(
    "identity, content",
    [
        (ME, None),
        (ELSEWHERE, None),
        (ME._replace(namespace="pid:[7]"), None),
        (DEAD._replace(boot="", host="elsewhere"), None),
        (ME, b""),  # not written yet
        (ME, b"\xff\n" * 9),
    ],
)
def test_claimed_claim_of_a_process_that_may_live_is_waited_for(directory, identity, content):
    begun_by(identity, directory, content=content)
    told = []

    def tell(message):
        if not told:
            directory.remove(OTHER)
        told.append(message)

    with claimed(directory, "x", OURS, tell):
        pass
    assert told[0].startswith("Waiting for ")
    assert told[0].endswith(f", which holds {directory.join('x')}")
    assert told[1].startswith("Waited ")


@pytest.mark.parametrize("refusal", [None, PermissionError], ids=["own", "another user's"])
def test_gone_process_that_proc_hides_is_not_gone(monkeypatch, refusal):
    """With the mount option hidepid=2, /proc shows a user only the user's own processes."""

    def kill(_process, _signal):
        if refusal:
            raise refusal

    living = ME._replace(began="1")
    monkeypatch.setattr(claims, "_content", lambda path: "")
    monkeypatch.setattr(os, "kill", kill)
    assert living.gone(ME) is None


@pytest.mark.parametrize("number", [GONE.strip(), "9" * 30], ids=["ended", "beyond all numbers"])
def test_gone_process_that_proc_lacks_and_the_system_does_not_know_is_gone(number):
    assert DEAD._replace(process=number).gone(ME) is True


def test_claimed_claim_shows_signs_of_life(directory, monkeypatch):
    monkeypatch.setattr(claims, "_BEAT", 0.01)
    with claimed(directory, "x", OURS, print):
        (name,) = directory.names()
        path = directory.join(name)
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 60
        while os.stat(path).st_mtime == 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_claimed_many_at_once_take_turns(directory):
    inside, seen = [], []

    def turn(number):
        with claimed(directory, "x", OURS, lambda message: None):
            inside.append(number)
            seen.append(list(inside))
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(turn, range(12)))
    assert sorted(seen) == [[number] for number in range(12)]


def refuse(number):
    def flock(*_arguments):
        raise OSError(number, os.strerror(number))

    return flock


#: How flock behaves: as on Lustre or a mount with local locks, and as on NFS without a lock daemon.
LOCKS = {"nothing": lambda *_arguments: None, "ENOLCK": refuse(errno.ENOLCK), "ENOSYS": refuse(errno.ENOSYS)}


@pytest.mark.parametrize("flock", LOCKS.values(), ids=list(LOCKS))
def test_exclusive_without_working_locks_waits_all_the_same(directory, monkeypatch, flock):
    monkeypatch.setattr(fcntl, "flock", flock)
    release, held, told = threading.Event(), threading.Event(), []

    def first():
        with exclusive(directory, OURS, print):
            held.set()
            assert release.wait(60)

    def tell(message):
        told.append(message)
        release.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        assert held.wait(60)
        with exclusive(directory, OURS, tell):
            assert running.result(60) is None
    assert f"Waiting for process {os.getpid()} on " in told[0]


def test_import_two_at_once_bring_each_blob_once(memory_mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", LOCKS["nothing"])
    content = bytes(INTERVAL + 1)
    raw = memory_mirror.put("llama3", content)
    name, together = ModelName.parse("llama3"), threading.Barrier(2)

    def bring(_number):
        with Store(StoreSettings(str(tmp_path / "models"))) as store:
            importer = ModelImport(memory_mirror, store, [name])
            assert importer.plan().changed
            together.wait(60)
            importer.apply()
            assert store.manifest(name) == raw
            return importer.report.downloaded

    with ThreadPoolExecutor(2) as pool:
        brought = list(pool.map(bring, range(2)))
    assert sorted(map(len, brought)) == [0, 1]
    assert (tmp_path / "models/blobs" / digest_of(content).replace(":", "-")).read_bytes() == content


def test_fetch_two_at_once_bring_the_file_once(memory_mirror, tmp_path):
    content = bytes(INTERVAL + 1)
    memory_mirror.objects["a.bin"] = content
    together = threading.Barrier(2)

    def bring(_number):
        fetch = Fetch(memory_mirror, "a.bin", str(tmp_path / "a.bin"), digest_of(content))
        plan = fetch.plan()
        together.wait(60)
        return fetch.apply(plan, OURS)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(bring, range(2))) == [0, len(content)]
    assert (tmp_path / "a.bin").read_bytes() == content
    assert os.listdir(tmp_path) == ["a.bin"]
