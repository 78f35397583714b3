# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    Directory,
    DirectoryError,
    DiskFullError,
    NotPermittedError,
    Ownership,
    OwnershipError,
    UnsafePathError,
    explain,
)

NOBODY = 65534


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A directory of another user, seen by root."""
    directory = tmp_path / "foreign"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    return directory


def like(path, *, owner=None, group=None, mode=None):
    return Ownership.like(os.stat(path), Ownership.asked(owner, group, mode))


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_missing_directories_are_made_as_the_nearest_parent_is(tmp_path):
    tmp_path.chmod(0o2750)
    made = Directory.make(str(tmp_path / "a" / "b"), like(tmp_path))
    with made:
        assert made.path == str(tmp_path / "a" / "b")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        assert mode(path) == 0o2750
        assert path.stat().st_uid == tmp_path.stat().st_uid


def test_below_a_directory_that_everybody_may_write_new_ones_are_not(tmp_path):
    tmp_path.chmod(0o1777)
    Directory.make(str(tmp_path / "a"), like(tmp_path)).close()
    assert mode(tmp_path / "a") == 0o775


def test_opening_creates_nothing(tmp_path):
    assert Directory.open(str(tmp_path / "a" / "b")) is None
    assert list(tmp_path.iterdir()) == []
    assert Directory.nearest(str(tmp_path / "a" / "b"))[1] == str(tmp_path)


def test_ones_own_links_lead_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    real = tmp_path / "real"
    (real / "models").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(real)
    (tmp_path / "relative").symlink_to("./absolute/../real")
    for name in ("absolute", "relative"):
        opened = Directory.open(str(tmp_path / name / "models"))
        assert opened is not None
        with opened:
            assert os.path.samestat(os.fstat(opened.descriptor), os.stat(real / "models"))


def test_a_loop_of_links_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DirectoryError, match="loop"):
        Directory.open(str(tmp_path / "loop"))


@pytest.mark.parametrize("below", ["", "/models"])
def test_root_does_not_follow_the_link_of_another_user_on_the_way(foreign, tmp_path, below):
    outside = tmp_path / "outside"
    outside.mkdir()
    (foreign / "link").symlink_to(outside)
    for enter in (Directory.open, Directory.nearest, lambda path: Directory.make(path, like(tmp_path))):
        with pytest.raises(UnsafePathError, match="symbolic link"):
            enter(f"{foreign}/link{below}")
    assert list(outside.iterdir()) == []


def test_root_does_not_follow_the_link_of_another_user_below(foreign, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_text("secret")
    (foreign / "dir").symlink_to(outside)
    (foreign / "file").symlink_to(secret)
    with Directory.open(str(foreign)) as directory:
        with pytest.raises(UnsafePathError):
            directory.find("dir")
        with pytest.raises(UnsafePathError):
            directory.child("dir", like(tmp_path))
        with pytest.raises(UnsafePathError):
            directory.open_file("file")
        assert stat.S_ISLNK(directory.stat("file").st_mode)
        directory.write("file", b"mine", like(foreign))
    assert secret.read_text() == "secret"
    assert (foreign / "file").read_bytes() == b"mine"
    assert not (foreign / "file").is_symlink()


def test_a_file_that_has_another_name_elsewhere_is_not_written_into(foreign, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    os.link(outside, foreign / "partial")
    with Directory.open(str(foreign)) as directory:
        descriptor = directory.create_file("partial", like(foreign), keep=True)
        os.write(descriptor, b"mine")
        os.close(descriptor)
    assert outside.read_text() == "precious"
    assert (foreign / "partial").read_text() == "mine"


@pytest.mark.parametrize("keep", [True, False])
def test_a_pipe_in_the_way_blocks_nobody(foreign, keep):
    os.mkfifo(foreign / "lock")
    with Directory.open(str(foreign)) as directory:
        with pytest.raises(UnsafePathError, match="not a regular file"):
            directory.open_file("lock")
        os.close(directory.create_file("lock", like(foreign), keep=keep))
    assert stat.S_ISREG(os.lstat(foreign / "lock").st_mode)


def test_a_file_can_be_kept_or_made_anew(tmp_path):
    (tmp_path / "file").write_text("content")
    with Directory.open(str(tmp_path)) as directory:
        descriptor = directory.create_file("file", like(tmp_path), keep=True)
        assert os.read(descriptor, 100) == b"content"
        os.close(descriptor)
        descriptor = directory.create_file("file", like(tmp_path))
        assert os.read(descriptor, 100) == b""
        os.close(descriptor)


@pytest.mark.parametrize(
    "asked, file_mode, directory_mode",
    [("0640", 0o640, 0o750), ("600", 0o600, 0o700), (0o644, 0o644, 0o755), ("0444", 0o444, 0o755)],
)
def test_a_mode_that_was_asked_for(tmp_path, asked, file_mode, directory_mode):
    ownership = like(tmp_path, mode=asked)
    assert (ownership.file_mode, ownership.directory_mode) == (file_mode, directory_mode)
    with Directory.make(str(tmp_path / "a"), ownership) as directory:
        directory.write("file", b"", ownership)
    assert mode(tmp_path / "a") == directory_mode
    assert mode(tmp_path / "a" / "file") == file_mode


@pytest.mark.parametrize("wrong", ["rw-r--r--", "999", 640, -1, "0o1777", ""])
def test_invalid_mode_is_refused(tmp_path, wrong):
    with pytest.raises(OwnershipError, match="mode"):
        like(tmp_path, mode=wrong)


def test_users_and_groups_have_names_or_numbers(tmp_path):
    ownership = like(tmp_path, owner="root", group="12345")
    assert (ownership.uid, ownership.gid) == (0, 12345)
    with pytest.raises(OwnershipError, match="no user nosuchuser"):
        like(tmp_path, owner="nosuchuser")
    with pytest.raises(OwnershipError, match="no group nosuchgroup"):
        like(tmp_path, group="nosuchgroup")


def test_a_directory_that_cannot_be_entered_is_named(tmp_path, as_nobody):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b").chmod(0o700)
    message = as_nobody(lambda: Directory.open(str(tmp_path / "a" / "b" / "c")))
    assert f"User nobody may not enter {tmp_path}/a/b (mode 0700, owner " in message
    assert "chmod o+x" in message


@pytest.fixture
def as_nobody(tmp_path):
    """Call a function as user nobody; return the text of the typed error that it raises."""

    def call(function):
        if os.geteuid() != 0:
            pytest.fail("this test changes its user, and so has to be run as root")
        path = tmp_path
        while str(path) not in ("/", "/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
            path = path.parent
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            text = "no error"
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                function()
            except DirectoryError as error:
                text = str(error)
            finally:
                os.write(writer, text.encode())
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            return pipe.read()

    return call


@pytest.mark.parametrize(
    "number, kind, says",
    [
        (errno.ENOSPC, DiskFullError, "full"),
        (errno.EDQUOT, DiskFullError, "quota"),
        (errno.EROFS, NotPermittedError, "read-only"),
        (errno.EACCES, NotPermittedError, "permission"),
        (errno.EIO, DirectoryError, "error"),
    ],
)
def test_errors_of_the_system_are_explained(number, kind, says):
    error = explain(OSError(number, os.strerror(number)), "write", "/somewhere")
    assert error.__class__ is kind
    assert says in str(error)
    assert "/somewhere" in str(error)
    assert error.remedy


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_has_a_remedy(number):
    error = explain(OSError(number, os.strerror(number)), "write", "/there")
    assert "/there" in error.message
    assert error.remedy


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_root_is_never_asked_to_become_root(monkeypatch, number):
    refused = OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "Run as root" not in explain(refused, "write", "/there").remedy
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "Run as root" in explain(refused, "write", "/there").remedy


def test_root_that_may_not_give_files_away_gets_the_reason_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fstat", as_of(os.fstat, uid=0))
    with Directory.open(str(tmp_path)) as directory, pytest.raises(OwnershipError) as caught:
        directory.child("blobs", Ownership(1234, 1234, 0o600, 0o700))
    assert "root_squash" in caught.value.remedy
    assert "become_user" in caught.value.remedy
    assert "Run as root" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_directory_of_a_killed_process_gets_its_mode_from_the_next_one(tmp_path):
    """Otherwise the server could never read what is in it."""
    wanted = Ownership(None, None, 0o644, 0o755)
    (tmp_path / "blobs").mkdir(0o700)
    (tmp_path / "other").mkdir(0o700)
    (tmp_path / "link").symlink_to("other")
    with Directory.open(str(tmp_path)) as directory:
        for name in ("blobs", "link"):
            directory.child(name, wanted).close()
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("blobs", "other")] == [0o755, 0o755]


@pytest.mark.parametrize("mode, content", [(0o700, ["file"]), (0o750, [])])
def test_directory_that_somebody_uses_keeps_its_mode(tmp_path, mode, content):
    place = tmp_path / "blobs"
    place.mkdir()
    place.chmod(mode)
    for name in content:
        (place / name).touch()
    with Directory.open(str(tmp_path)) as directory:
        directory.child("blobs", Ownership(None, None, 0o644, 0o755)).close()
    assert stat.S_IMODE(place.stat().st_mode) == mode


def test_a_link_in_a_directory_of_root_that_others_may_write_to_is_refused_with_a_way_out(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    tmp_path.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fstat", as_of(os.fstat, uid=0))
    with Directory.open(str(tmp_path)) as directory, pytest.raises(UnsafePathError) as caught:
        directory.find("link")
    assert "others may write to" in caught.value.message
    assert "become_user" not in caught.value.remedy


def as_of(stat_of, uid):
    """Return a stat that gives every file to a user."""

    def changed(descriptor):
        state = list(stat_of(descriptor))
        state[4] = uid
        return os.stat_result(state)

    return changed


def test_full_quota_of_a_new_owner_is_no_refusal_of_the_owner(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fchown", refuse)
    with Directory.open(str(tmp_path)) as directory, pytest.raises(DiskFullError, match="quota"):
        directory.create_file("blob", Ownership(NOBODY, NOBODY, 0o600, 0o700))
