# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.lock import exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.directories import Directory, Ownership

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


def test_nobody_waits_for_nobody(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory:
        assert take(directory, told.append)
        assert take(directory, told.append)
    assert told == []


def test_who_has_let_go_is_not_named_any_more(tmp_path):
    with Directory.open(str(tmp_path)) as directory:
        assert take(directory, print)
    assert (tmp_path / "lock").read_bytes() == b""


@pytest.mark.parametrize("says", ["at once", "late"])
def test_a_second_one_waits_and_says_so(tmp_path, says):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock", says=says) as holder:

        def tell(message):
            told.append(message)
            holder.stdin.close()  # it is not held any longer than until somebody waits for it

        assert take(directory, tell)
    assert told[0] == f"Waiting for process {holder.pid}, which holds {tmp_path}/lock"
    assert told[1].startswith("Waited ")


def test_a_killed_holder_holds_nothing(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock") as holder:
        holder.kill()
        holder.wait()
        assert take(directory, told.append)
    assert told == []
