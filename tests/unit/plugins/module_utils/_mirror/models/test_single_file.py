# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files: what is seen before anything is transferred."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import ObjectMissingError, WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.single_file import (
    Deposit,
    Fetch,
    UnverifiableError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.claims import StoreBusyError, claimed
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.lock import LockWait
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    Directory,
    DirectoryError,
    DiskFullError,
    NotPermittedError,
    Ownership,
    UnsafePathError,
)

CONTENT = b"x" * 1000
DIGEST = digest_of(CONTENT)
PLAIN = Ownership(None, None, 0o644, None)


@pytest.fixture
def fetch(memory_mirror):
    """Return a download of one object to a path."""
    memory_mirror.objects["releases/a.bin"] = CONTENT
    return lambda path: Fetch(memory_mirror, "releases/a.bin", str(path), DIGEST)


@pytest.mark.parametrize("ending", ["", "/"])
def test_fetch_directory_as_path_is_refused_in_the_plan(fetch, tmp_path, ending):
    with pytest.raises(UnsafePathError) as caught:
        fetch(f"{tmp_path}{ending}").plan()
    assert f"{tmp_path} is a directory" in caught.value.message
    assert str(tmp_path / "a.bin") in caught.value.remedy


def test_fetch_path_that_ends_in_a_slash_is_refused(fetch, tmp_path):
    with pytest.raises(UnsafePathError, match="must name the file"):
        fetch(f"{tmp_path}/new/").plan()


def test_fetch_root_directory_is_refused(fetch):
    with pytest.raises(UnsafePathError, match="is a directory"):
        fetch("/").plan()


def test_fetch_link_to_a_directory_is_refused(fetch, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(UnsafePathError, match="is a directory"):
        fetch(tmp_path / "link").plan()


def test_fetch_pipe_or_device_is_never_replaced(fetch, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePathError, match="not a regular file"):
        fetch(tmp_path / "pipe").plan()


def test_fetch_directory_that_may_not_be_written_to_is_refused_in_the_plan(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    with pytest.raises(NotPermittedError) as caught:
        fetch(tmp_path / "f").plan()
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    "recorded, remedy", [(None, "Correct checksum"), (DIGEST, "remove the object from the bucket")]
)
def test_fetch_other_content_than_the_checksum_is_named_with_the_remedy(
    fetch, tmp_path, memory_mirror, monkeypatch, recorded, remedy
):
    state = memory_mirror.state("releases/a.bin")._replace(digest=recorded)
    monkeypatch.setattr(memory_mirror, "find", lambda key: state)
    memory_mirror.objects["releases/a.bin"] = b"y" * len(CONTENT)
    download = fetch(tmp_path / "a.bin")
    with pytest.raises(WrongDigestError) as caught:
        download.apply(download.plan(), Ownership(None, None, 0o644, None))
    assert "s3://models/releases/a.bin" in caught.value.message
    assert remedy in caught.value.remedy
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [1, 200, 235, 255])
def test_fetch_any_name_that_the_file_system_allows_is_possible(fetch, tmp_path, length):
    path = tmp_path / ("m" * length)
    download = fetch(path)
    assert download.apply(download.plan(), Ownership(None, None, 0o644, None)) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def save(fetch, path):
    download = fetch(path)
    return download.apply(download.plan(), Ownership(None, None, 0o644, None))


def test_fetch_present_file_is_not_requested_again(fetch, tmp_path, memory_mirror):
    save(fetch, tmp_path / "a.bin")
    count = len(memory_mirror.store.requests)
    assert not fetch(tmp_path / "a.bin").plan().changed
    assert len(memory_mirror.store.requests) == count


def test_fetch_file_that_came_meanwhile_is_left_alone(fetch, tmp_path):
    download = fetch(tmp_path / "a.bin")
    plan = download.plan()
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert download.apply(plan, Ownership(None, None, 0o644, None)) == 0


def test_fetch_process_that_never_ends_is_named_after_the_wait(memory_mirror, tmp_path):
    memory_mirror.objects["a.bin"] = CONTENT
    told = []
    download = Fetch(memory_mirror, "a.bin", str(tmp_path / "a.bin"), DIGEST, wait=LockWait(told.append, within=0.0))
    with (
        Directory.open(str(tmp_path)) as directory,
        claimed(directory, download._stem(directory, DIGEST), PLAIN, told.append),
        pytest.raises(StoreBusyError, match=f"is still held by process {os.getpid()}"),
    ):
        download.apply(download.plan(), PLAIN)
    assert told[0].startswith("Waiting for process")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [1, 255])
def test_fetch_removes_what_is_left_of_other_content(fetch, tmp_path, length):
    """An interrupted download of an object that was then replaced would leave gigabytes for ever."""
    path = tmp_path / ("m" * length)
    download = fetch(path)
    with Directory.open(str(tmp_path)) as directory:
        older, running = (download._stem(directory, digest_of(content)) for content in (b"older", b"running"))
    kept = [f"{running}.partial", f".{'m' * 100}.0123456789abcdef.partial", ".m.partial", ".m.0123.journal"]
    for name in [*kept, f"{older}.partial", f"{older}.journal"]:
        (tmp_path / name).touch()
    with Directory.open(str(tmp_path)) as directory, claimed(directory, running, PLAIN, lambda _message: None):
        download.apply(download.plan(), PLAIN)
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *kept])


def test_fetch_missing_object_is_named(memory_mirror, tmp_path):
    with pytest.raises(ObjectMissingError, match="s3://models/absent does not exist"):
        Fetch(memory_mirror, "absent", str(tmp_path / "a"), None).plan()


def test_fetch_missing_folder_is_named(fetch, tmp_path):
    with pytest.raises(DirectoryError, match="does not exist"):
        fetch(tmp_path / "no/a.bin").plan()


def test_fetch_object_without_any_digest_is_unverifiable(memory_mirror, tmp_path):
    memory_mirror.objects["plain"] = b"content"
    memory_mirror.store.digests["plain"] = ""
    with pytest.raises(UnverifiableError):
        Fetch(memory_mirror, "plain", str(tmp_path / "a"), None).plan()


def test_fetch_recorded_digest_that_is_not_the_wanted_one_is_refused(memory_mirror, tmp_path):
    memory_mirror.objects["plain"] = b"content"
    with pytest.raises(WrongDigestError, match="has the recorded digest") as caught:
        Fetch(memory_mirror, "plain", str(tmp_path / "a"), DIGEST).plan()
    assert caught.value.details["found"] == digest_of(b"content")


def test_fetch_too_little_room_is_refused_with_the_numbers(fetch, tmp_path, monkeypatch):
    disk = os.statvfs(tmp_path)
    full = os.statvfs_result((disk.f_bsize, 1, disk.f_blocks, 0, 0, *list(disk)[5:10]))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: full)
    with pytest.raises(DiskFullError, match=r"needs 1\.0 kB at .* and 0 B are free"):
        fetch(tmp_path / "a.bin").plan()


@pytest.fixture
def deposit(memory_mirror, tmp_path):
    """Return an upload of one file."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    return lambda digest=None: Deposit(memory_mirror, "up/a.bin", str(tmp_path / "a.bin"), digest)


def test_deposit_new_object_is_sent_once(deposit, memory_mirror):
    plan = deposit(DIGEST).plan()
    assert (plan.before, plan.after, plan.size) == (None, DIGEST, len(CONTENT))
    assert deposit().apply(plan) == len(CONTENT)
    assert memory_mirror.objects["up/a.bin"] == CONTENT
    assert not deposit().plan().changed


def test_deposit_other_digest_than_the_checksum_is_refused(deposit):
    with pytest.raises(WrongDigestError, match="has the digest"):
        deposit(digest_of(b"other")).plan()


@pytest.mark.parametrize("content", [b"short", b"y" * len(CONTENT)])
def test_deposit_other_object_is_replaced(deposit, memory_mirror, content):
    memory_mirror.objects["up/a.bin"] = content
    plan = deposit().plan()
    assert plan.changed
    assert plan.before in ("unknown", digest_of(content))


def test_deposit_object_without_a_digest_is_kept_by_its_etag(deposit, memory_mirror):
    memory_mirror.objects["up/a.bin"] = CONTENT
    memory_mirror.store.digests["up/a.bin"] = ""
    assert not deposit().plan().changed


def test_deposit_file_that_changes_meanwhile_is_not_sent(deposit, memory_mirror, tmp_path):
    plan = deposit().plan()
    (tmp_path / "a.bin").write_bytes(b"z" * len(CONTENT))
    with pytest.raises(WrongDigestError) as caught:
        deposit().apply(plan)
    assert "The file changed" in caught.value.remedy
    assert "up/a.bin" not in memory_mirror.objects


def test_deposit_directory_is_refused(memory_mirror, tmp_path):
    with pytest.raises(DirectoryError, match="is not a regular file"):
        Deposit(memory_mirror, "up", str(tmp_path), None).plan()
