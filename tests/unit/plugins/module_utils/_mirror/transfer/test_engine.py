# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer engine, over sources that fail on demand and targets of memory."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import threading
import time
from dataclasses import replace

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorBusyError,
    MirrorCredentialsError,
    MirrorUnreachableError,
    ObjectChangedError,
    ObjectMissingError,
    WrongDigestError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.retry import RANGE_READS, REPLACEMENTS
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.blob_transfer import Transfer
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.buffer_pool import MEMORY
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.engine import (
    PIECE,
    Engine,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DiskFullError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: The retries of ranges, without their pauses.
WITHOUT_PAUSES = replace(RANGE_READS, longest_pause=0.0)


class Stream:
    def __init__(self, content, breaks_after=None):
        self.content = memoryview(content)
        self.left = breaks_after
        self.closed = False

    def readinto(self, view):
        count = min(len(view), len(self.content), 100 if self.left is None else max(self.left, 0))
        if not count:
            raise MirrorUnreachableError("the connection broke")
        view[:count] = self.content[:count]
        self.content = self.content[count:]
        if self.left is not None:
            self.left -= count
        return count

    def close(self):
        self.closed = True


def fail_with(error):
    raise error


class Source:
    """Content that is asked for in ranges; `script` says what happens to each request in turn."""

    def __init__(self, content, script=()):
        self.content = content
        self.script = list(script)
        self.asked = []
        self.streams = []
        self.refreshed = 0
        self.version = 0
        self.lock = threading.Lock()

    def open(self, start, stop):
        with self.lock:
            self.asked.append((start, stop))
            step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            fail_with(step)
        if callable(step):
            step(self)
        stream = Stream(self.content[start:stop], step if isinstance(step, int) else None)
        self.streams.append(stream)
        return stream

    def refresh(self, version):
        with self.lock:
            if version != self.version:
                return False
            self.version += 1
            self.refreshed += 1
            return True


class Target:
    def __init__(self, there=b"", fails=None):
        self.content = bytearray(there)
        self.length = len(there)
        self.fails = fails
        self.slow = 0
        self.room = float("inf")
        self.places = {}
        self.reach = None
        self.state = "new"
        self.lock = threading.Lock()

    def begin(self):
        self.state = "open"
        return self.length, hashlib.sha256(self.content[: self.length])

    def write(self, offset, data):
        assert self.state == "open", "nothing may be written to a target that was suspended"
        if self.fails:
            raise self.fails
        time.sleep(self.slow)
        assert self.state == "open", "a target may not be suspended while it is written to"
        with self.lock:
            if sum(self.places.values()) + len(data) > self.room:
                raise DiskFullError("full")
            self.places[offset] = len(data)
            if len(self.content) < offset + len(data):
                self.content.extend(bytes(offset + len(data) - len(self.content)))
            self.content[offset : offset + len(data)] = data

    def reached(self, length, data):
        assert self.reach is None, "what was reached before must have passed"
        assert self.length < length <= len(self.content), "bytes must be reached in order, and have been written"
        self.reach = length, bytes(data)

    def passed(self, length, data, seen):
        assert self.reach == (length, bytes(data)), "bytes must be reached before they pass"
        self.reach = None
        assert self.length < length <= len(self.content), "bytes must pass in order, and have been written"
        assert bytes(data) == bytes(self.content[self.length : length])
        self.length = length
        assert seen.hexdigest() == hashlib.sha256(self.content[:length]).hexdigest()

    def cut(self, length):
        del self.content[length:]
        self.places = {offset: count for offset, count in self.places.items() if offset < length}
        return True

    def commit(self):
        self.state = "committed"

    def suspend(self):
        if self.state == "open":
            self.state = "suspended"

    def discard(self):
        self.state = "discarded"
        self.content.clear()
        self.length = 0


def transfer(content, script=(), there=b"", fails=None, actual=None):
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Transfer(digest, len(content), Source(actual or content, script), Target(there, fails))


def engine(**options):
    return Engine(**{"chunk_size": 1000, "retry": WITHOUT_PAUSES, **options})


def test_run_blobs_of_all_sizes_arrive_whole():
    rng = random.Random(1)
    transfers = [transfer(rng.randbytes(size)) for size in (0, 1, 999, 1000, 1001, 50_000, 7, 0)]
    done = []
    counted = []
    engine(on_done=done.append, on_bytes=lambda transfer, count: counted.append(count)).run(transfers)
    for each in transfers:
        assert bytes(each.target.content) == each.source.content
        assert each.target.state == "committed"
        assert each.received == each.size
        assert each.error is None
        assert all(stream.closed for stream in each.source.streams)
    assert sorted(map(id, done)) == sorted(map(id, transfers))
    assert sum(counted) == sum(each.size for each in transfers)
    assert transfers[0].source.asked == []


def test_run_large_blob_is_requested_in_parallel_ranges():
    together = threading.Barrier(4, timeout=10)
    waits = [lambda source: together.wait()] * 4
    each = transfer(os.urandom(10_000), waits)
    engine(concurrency=4).run([each])
    assert sorted(each.source.asked) == [(start, start + 1000) for start in range(0, 10_000, 1000)]
    assert each.target.state == "committed"


def test_run_small_blobs_come_in_parallel():
    together = threading.Barrier(4, timeout=10)
    transfers = [transfer(os.urandom(10), [lambda source: together.wait()]) for _blob in range(4)]
    engine(concurrency=4).run(transfers)
    assert all(each.target.state == "committed" for each in transfers)


def test_run_slow_request_does_not_let_buffers_grow():
    """While the first chunk does not come, only as many others are asked for as there are buffers."""
    release = threading.Event()
    each = transfer(os.urandom(100_000), [lambda source: release.wait(60)])
    runner = engine(concurrency=4)
    thread = threading.Thread(target=runner.run, args=([each],))
    thread.start()
    deadline = time.monotonic() + 60
    while len(each.source.asked) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(each.source.asked) == 5  # four threads and the one buffer more
    release.set()
    thread.join(60)
    assert each.target.state == "committed"


def test_buffers_any_options_stay_within_the_memory_limit():
    for chunk_size in (1 << 20, 8 << 20, 64 << 20):
        runner = Engine(concurrency=64, chunk_size=chunk_size)
        assert runner._buffers.count * chunk_size <= max(MEMORY, 2 * chunk_size)


def test_run_partial_blob_is_resumed():
    content = os.urandom(10_000)
    each = transfer(content, there=content[:4321])
    engine().run([each])
    assert bytes(each.target.content) == content
    assert each.resumed == 4321
    assert each.received == 10_000 - 4321
    assert min(each.source.asked) == (4321, 5321)


def test_run_complete_partial_blob_is_only_committed():
    content = os.urandom(3000)
    each = transfer(content, there=content)
    engine().run([each])
    assert each.source.asked == []
    assert each.target.state == "committed"


def test_run_broken_answer_is_resumed_where_it_broke():
    each = transfer(os.urandom(1000), [300, 0, 200])
    engine().run([each])
    assert each.source.asked == [(0, 1000), (300, 1000), (300, 1000), (500, 1000)]
    assert each.received == 1000
    assert each.target.state == "committed"


@pytest.mark.parametrize("error", [MirrorUnreachableError("gone"), MirrorBusyError("slow down")])
def test_run_transient_failure_is_retried_a_bounded_number_of_times(error):
    each = transfer(os.urandom(10), [error] * (RANGE_READS.attempts - 1))
    engine().run([each])
    assert each.target.state == "committed"

    each = transfer(os.urandom(10), [error] * RANGE_READS.attempts)
    with pytest.raises(type(error)):
        engine().run([each])
    assert len(each.source.asked) == RANGE_READS.attempts
    assert each.target.state == "suspended"


def test_run_received_byte_resets_the_count_of_tries():
    each = transfer(os.urandom(100), [1] * 50)
    engine().run([each])
    assert each.target.state == "committed"


def test_run_failure_elsewhere_ends_the_pause_between_tries(monkeypatch):
    pauses = threading.Event()

    def an_hour(_least, _most):
        pauses.set()
        return 3600.0

    def fail_meanwhile(_source):
        assert pauses.wait(60)
        raise MirrorCredentialsError("expired")

    monkeypatch.setattr(random, "uniform", an_hour)
    patient = transfer(os.urandom(10), [MirrorUnreachableError("gone")] * RANGE_READS.attempts)
    hopeless = transfer(os.urandom(10), [fail_meanwhile])
    errors = []

    def run():
        try:
            engine(concurrency=2).run([patient, hopeless])
        except MirrorCredentialsError as error:
            errors.append(error)

    runner = threading.Thread(target=run, daemon=True)
    runner.start()
    runner.join(60)
    assert errors, "it waits for the pause to end"


def test_run_failure_of_all_stops_all_and_keeps_received_bytes():
    first = transfer(os.urandom(5000), [None, None, MirrorCredentialsError("expired")])
    second = transfer(os.urandom(5000))
    with pytest.raises(MirrorCredentialsError):
        engine(concurrency=1).run([first, second])
    assert first.target.state == "suspended"
    assert bytes(first.target.content[: first.target.length]) == first.source.content[:2000]
    assert second.target.state == "new"


def test_run_full_disk_stops_all():
    first = transfer(os.urandom(5000), fails=DiskFullError("full"))
    second = transfer(os.urandom(50_000))
    with pytest.raises(DiskFullError):
        engine(concurrency=2).run([first, second])
    assert first.target.state == "suspended"


def test_run_full_disk_drops_bytes_behind_a_gap_to_close_the_gap():
    """The first range comes last, and finds no room; all that is in memory is still good for a later run."""
    each = transfer(os.urandom(9_000))
    each.target.room = 4_000

    def wait(source):  # for the other four buffers to be written, which fills the disk
        while sum(each.target.places.values()) < 4_000:
            time.sleep(0.001)

    each.source.script = [wait]
    with pytest.raises(DiskFullError):
        engine(concurrency=4).run([each])
    assert each.target.state == "suspended"
    assert each.target.length == 4_000
    assert bytes(each.target.content) == each.source.content[:4_000]


def test_run_incomplete_range_is_kept_in_whole_pages():
    size = 5 * mmap.PAGESIZE
    each = transfer(os.urandom(size), [2 * mmap.PAGESIZE + 100, MirrorCredentialsError("expired")])
    with pytest.raises(MirrorCredentialsError):
        engine(concurrency=1, chunk_size=size).run([each])
    assert each.target.length == 2 * mmap.PAGESIZE
    assert each.received == 2 * mmap.PAGESIZE + 100


@pytest.mark.parametrize("error", [ObjectMissingError("gone"), WrongDigestError("damaged")])
def test_run_failure_of_one_blob_does_not_stop_the_others(error):
    first = transfer(os.urandom(50_000), [None, None, error])
    second = transfer(os.urandom(50_000))
    engine(concurrency=3).run([first, second])
    assert first.error is error
    assert first.target.state == "suspended"
    assert second.error is None
    assert second.target.state == "committed"


def test_run_failed_transfer_is_suspended_after_its_last_thread():
    """Else a descriptor would be closed, and perhaps be another file's by then, while a thread still writes to it."""
    writing = threading.Event()
    each = transfer(os.urandom(50_000))
    each.target.slow = 0.05

    def fail(source):
        writing.wait(60)
        raise ObjectMissingError("gone")

    each.source.script = [lambda source: writing.set(), None, fail]
    other = transfer(b"other")
    engine(concurrency=3).run([each, other])
    assert isinstance(each.error, ObjectMissingError)
    assert each.target.state == "suspended"
    assert other.target.state == "committed"


def test_run_wrong_content_is_discarded():
    each = transfer(os.urandom(5000), actual=os.urandom(5000))
    other = transfer(b"other")
    engine().run([each, other])
    assert isinstance(each.error, WrongDigestError)
    assert each.error.details["digest"] == each.digest
    assert each.target.state == "discarded"
    assert each.received == 5000
    assert other.target.state == "committed"


def test_run_object_replaced_by_the_same_bytes_is_read_on():
    each = transfer(os.urandom(5000), [None, ObjectChangedError("changed"), None])
    engine(concurrency=1).run([each])
    assert each.source.refreshed == 1
    assert each.target.state == "committed"
    assert each.received == 5000


def test_run_object_replaced_once_fails_all_running_requests_and_is_read_on():
    each = transfer(os.urandom(8000))
    source, opened, stale = each.source, each.source.open, threading.Barrier(6)

    def replaced_once(start, stop):
        if source.version == 0:
            stale.wait(10)
            raise ObjectChangedError("changed")
        return opened(start, stop)

    source.open = replaced_once
    engine(concurrency=6).run([each])
    assert each.target.state == "committed"
    assert source.refreshed == 1


def test_run_object_that_is_replaced_all_the_time_is_a_failure():
    each = transfer(os.urandom(5000), [ObjectChangedError("changed")] * 100)
    engine(concurrency=1).run([each])
    assert isinstance(each.error, ObjectChangedError)
    assert each.source.refreshed == REPLACEMENTS


def test_run_mixture_of_two_objects_is_started_over_once():
    """The first half came from an object that was damaged, and was replaced by a sound one."""
    content = os.urandom(4000)
    each = transfer(content, actual=os.urandom(4000))

    def replaced(source):
        source.content = content
        raise ObjectChangedError("changed")

    each.source.script = [None, None, replaced]
    engine(concurrency=1).run([each])
    assert each.error is None
    assert bytes(each.target.content) == content
    assert each.target.state == "committed"
    assert each.received == 8000


def test_run_wrong_resumed_bytes_are_fetched_again():
    content = os.urandom(4000)
    each = transfer(content, there=b"x" * 2000)
    engine().run([each])
    assert each.error is None
    assert bytes(each.target.content) == content


def test_run_error_of_a_callback_is_raised():
    def fail(transfer):
        raise DiskFullError("no room for the manifest")

    with pytest.raises(DiskFullError):
        engine(on_done=fail).run([transfer(b"content")])


def test_run_answer_is_read_in_pieces():
    """So that a failure elsewhere is noticed in the middle of a chunk."""
    assert PIECE <= 2 << 20


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=6),
    concurrency=st.integers(1, 5),
    chunk_size=st.integers(1, 1500).map(lambda n: n + 50),
    faults=st.lists(
        st.one_of(
            st.none(),
            st.integers(1, 300),
            st.builds(MirrorUnreachableError, st.just("gone")),
            st.builds(ObjectChangedError, st.just("changed")),
        ),
        max_size=12,
    ),
    resumed=st.floats(0, 1),
)
def test_run_any_faults_leave_a_blob_whole_or_absent(sizes, concurrency, chunk_size, faults, resumed):
    rng = random.Random(repr(sizes))
    transfers = []
    for size in sizes:
        content = rng.randbytes(size)
        script = [faults.pop(0) for _fault in range(min(3, len(faults)))]
        transfers.append(transfer(content, script, there=content[: int(size * resumed)]))
    Engine(concurrency=concurrency, chunk_size=chunk_size, retry=WITHOUT_PAUSES).run(transfers)
    for each in transfers:
        if each.error is None:
            assert bytes(each.target.content) == each.source.content
            assert each.target.state == "committed"
        else:
            assert each.target.state == "suspended"
