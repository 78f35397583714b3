# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.lock import exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.directories import Directory, Ownership

OURS = Ownership(None, None, 0o600, 0o700)

HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.write(descriptor, str(os.getpid()).encode())
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    return holder


def take(directory, told):
    with exclusive(directory, OURS, told.append):
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
        assert take(directory, told)
        assert take(directory, told)
    assert told == []


def test_a_second_one_waits_and_says_so(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock", 0.7) as holder:
        start = time.monotonic()
        assert take(directory, told)
        assert time.monotonic() - start > 0.4
    assert told[0] == f"Waiting for process {holder.pid}, which holds {tmp_path}/lock"
    assert told[1].startswith("Waited ")


def test_a_killed_holder_holds_nothing(tmp_path):
    told = []
    with Directory.open(str(tmp_path)) as directory, hold(tmp_path / "lock", 60) as holder:
        holder.kill()
        holder.wait()
        assert take(directory, told)
    assert told == []
