# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import pwd
import subprocess
import sys
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.claims import StoreBusyError, claimed
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.lock import exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    Directory,
    Ownership,
    UnsafePathError,
)

OURS = Ownership(None, None, 0o600, 0o700)

HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
if sys.argv[2] == "late":
    print("held", flush=True)
    time.sleep(0.3)
os.write(descriptor, str(os.getpid()).encode())
print("held", flush=True)
sys.stdin.read()
"""


def hold(path, *, says="at once"):
    """Hold a lock, until the standard input of the process that does is closed."""
    command = [sys.executable, "-c", HOLDER, str(path), says]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    return holder


def take(directory, tell):
    with exclusive(directory, OURS, tell):
        descriptor = os.open(directory.join("lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def test_lock_alone_nobody_waits(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory:
        assert take(directory, told.append)
        assert take(directory, told.append)
    assert told == []


def test_lock_holder_that_released_is_not_named_any_more(tmp_path):
    with Directory.open(str(tmp_path)) as directory:
        assert take(directory, print)
    assert (tmp_path / "lock").read_bytes() == b""


@pytest.mark.parametrize("says", ["at once", "late"])
def test_lock_second_process_waits_and_reports_it(tmp_path, says):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock", says=says) as holder:

        def tell(message):
            told.append(message)
            holder.stdin.close()  # it is not held any longer than until somebody waits for it

        assert take(directory, tell)
    assert told[0] == f"Waiting for process {holder.pid}, which holds {tmp_path}/lock"
    assert told[1].startswith("Waited ")


def test_lock_of_a_killed_holder_is_free(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock") as holder:
        holder.kill()
        holder.wait()
        assert take(directory, told.append)
    assert told == []


def test_lock_holder_stays_wait_ends_and_names_the_process_and_its_user(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock") as holder:
        user = pwd.getpwuid(os.getuid()).pw_name
        (tmp_path / "lock").write_text("1")  # whoever may write to the file may say that it is somebody else
        with pytest.raises(StoreBusyError) as caught, exclusive(directory, OURS, told.append, within=0.05):
            pass
        holder.stdin.close()
    assert f"{tmp_path}/lock is still held by process {holder.pid} of the user {user}" in str(caught.value)
    assert told == [f"Waiting for process {holder.pid}, which holds {tmp_path}/lock"]


def test_lock_directory_in_its_place_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "lock" / "full").mkdir(parents=True)
    with (
        Directory.open(str(tmp_path)) as directory,
        pytest.raises(UnsafePathError, match=r"lock is a directory, .* Remove the directory"),
        exclusive(directory, OURS, print),
    ):
        pass


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a device"])
def test_lock_odd_file_in_its_place_is_replaced(tmp_path, kind):
    path = tmp_path / "lock"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "link to a device" else tmp_path / "elsewhere")
    with Directory.open(str(tmp_path)) as directory:
        assert take(directory, print)
    assert path.is_file() and not path.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_claim_holder_stays_wait_ends(tmp_path):
    with Directory.open(str(tmp_path)) as directory, claimed(directory, "x", OURS, print):
        late = claimed(directory, "x", OURS, print, deadline=time.monotonic())
        with pytest.raises(StoreBusyError, match=f"is still held by process {os.getpid()} on"), late:
            pass
