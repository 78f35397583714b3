# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random sequences of imports, removals, new versions, damage and kills, compared with a model of the store.

A kill is a real one: a child process imports, and sends itself SIGKILL when it is about to change the file system for
the n-th time, so that every point between two changes comes up sooner or later.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import tempfile
import traceback
from pathlib import Path

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_removal import (
    carry_out_removal,
    plan_removal,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.lock import exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import partial_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import TransferOptions
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings
from depth import rounds
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from mirror_lab import Model, digest_of, sdk_client

ROUNDS = rounds(quick=4, deep=100)
STEPS = 15
CHUNK = 16 * 1024

#: Layers that the models are made of, and share. The last comes in many ranges, and can be resumed.
_random = random.Random(4)
LAYERS = [_random.randbytes(size) for size in (0, 1, 1000, 5000, CHUNK, 40 * CHUNK + 7)]
NAMES = ["one", "two:tag", "registry.example:5000/team/three:latest"]

#: How each child that was to be killed ended.
KILLED: list[int] = []

#: What changes the file system; a kill comes before one of these.
CHANGES = ("pwrite", "write", "replace", "unlink", "rmdir", "mkdir", "ftruncate", "fsync", "utime")


def kill_before(change: int) -> None:
    """Let this process kill itself before its n-th change of the file system."""
    count = itertools.count(1)

    def watched(original):
        def call(*arguments, **options):
            if next(count) == change:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in CHANGES:
        setattr(os, name, watched(getattr(os, name)))


class AnySequence(RuleBasedStateMachine):
    """The expected store: models by name, our damage, and blobs that a kill left without a model."""

    mirror = None

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "models"
        self.offered: dict[str, Model] = {}
        self.present: dict[str, Model] = {}
        self.damaged: set[str] = set()
        self.orphans: set[str] = set()

    def teardown(self):
        shutil.rmtree(self.folder)

    @initialize()
    def fill_the_mirror(self):
        for number, name in enumerate(NAMES):
            self.offered[name] = Model(name, LAYERS[number : number + 3]).publish(self.mirror)

    @rule(
        name=st.sampled_from(NAMES),
        layers=st.lists(st.integers(0, len(LAYERS) - 1), min_size=1, max_size=4, unique=True),
    )
    def publish_another_version(self, name, layers):
        config = b'{"layers":%d}' % len(layers)
        self.offered[name] = Model(name, [LAYERS[number] for number in layers], config).publish(self.mirror)

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        prune=st.booleans(),
        always=st.booleans(),
        concurrency=st.integers(1, 4),
    )
    def import_models(self, names, prune, always, concurrency):
        self.run_import(names, prune, always, concurrency)
        self.arrive(names, prune)
        for name in names:
            self.damaged -= set(self.present[name].blobs)
        # The next run has nothing to do.
        with Store(StoreSettings(str(self.path))) as store:
            assert not ModelImport(self.mirror, store, [ModelName.parse(name) for name in names]).plan().changed

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        prune=st.booleans(),
        concurrency=st.integers(1, 4),
        changes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    )
    def import_is_killed(self, names, prune, concurrency, changes):
        """Once, or several times in a row."""
        for change in changes:
            # A child that answers to the requests of its parent, or a parent that gets those to its child's, would
            # be no fault of the code under test.
            sdk_client(self.mirror).close()
            child = os.fork()
            if not child:
                try:
                    kill_before(change)
                    self.run_import(names, prune, False, concurrency)
                except BaseException:  # noqa: BLE001 - a forked child must never go on with its parent's work
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, -signal.SIGKILL)
            KILLED.append(status)
            self.look_what_a_kill_left(names, prune)
            self.what_is_there_is_what_should_be()

    # Rules (draws must not depend on what a kill left, which differs from run to run)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name):
        if name not in self.present:
            return
        with Store(StoreSettings(str(self.path))) as store:
            with exclusive(store.workspace, store.ownership, lambda message: None):
                carry_out_removal(store, plan_removal(store, [ModelName.parse(name)]))
        self.leave([name])

    @rule(
        name=st.sampled_from(NAMES),
        which=st.integers(0, len(LAYERS)),
        kind=st.sampled_from(["flip", "cut", "grow", "remove", "link"]),
    )
    def damage(self, name, which, kind):
        if name not in self.present:
            return
        digests = sorted(self.present[name].blobs)
        digest = digests[which % len(digests)]
        file = self.file(digest)
        content = bytearray(self.present[name].blobs[digest])
        file.unlink(missing_ok=True)
        if kind == "flip" and content:
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        elif kind == "cut" and content:
            file.write_bytes(content[:-1])
        elif kind == "grow":
            file.write_bytes(content + b"more")
        elif kind == "link":
            file.symlink_to(self.folder / "nowhere")
        self.damaged.add(digest)

    @rule(size=st.integers(0, 300))
    def damage_what_an_interrupted_import_left(self, size):
        for file in self.path.glob(".legionio-ollama/*"):
            if file.is_file() and file.name != "lock":
                file.write_bytes(file.read_bytes()[:size] + os.urandom(size))

    @invariant()
    def what_is_there_is_what_should_be(self):
        if not self.path.exists():
            assert not self.present
            return
        found = {file.relative_to(self.path / "manifests").parts: file for file in self.path.glob("manifests/*/*/*/*")}
        assert {parts: file.read_bytes() for parts, file in found.items()} == {
            model.parsed.manifest_parts: model.raw for model in self.present.values()
        }
        needed = {digest for model in self.present.values() for digest in model.blobs}
        there = {entry.name.replace("-", ":", 1) for entry in self.path.glob("blobs/*")}
        assert needed - self.damaged <= there
        assert there <= needed | self.orphans | self.damaged
        for digest in there - self.damaged:
            assert digest_of(self.file(digest).read_bytes()) == digest
        assert {entry.name for entry in self.path.iterdir()} <= {"blobs", "manifests", ".legionio-ollama"}

    def run_import(self, names, prune, always, concurrency):
        with Store(StoreSettings(str(self.path))) as store:
            importer = ModelImport(
                self.mirror,
                store,
                [ModelName.parse(name) for name in names],
                prune=["*"] if prune else (),
                verify_always=always,
                options=TransferOptions(concurrency, CHUNK),
            )
            if importer.plan().changed:
                importer.apply()
            importer.remember()

    def file(self, digest):
        return self.path / "blobs" / digest.replace(":", "-")

    def arrive(self, names, prune):
        """The models equal those of the mirror; blobs that only their predecessors needed are gone."""
        before = set(self.present)
        replaced = [name for name in names if name in self.present and self.present[name].raw != self.offered[name].raw]
        going = {digest for name in replaced for digest in self.present[name].blobs}
        for name in names:
            self.present[name] = self.offered[name]
        self.forget(going)
        if prune:
            self.leave(before - set(names))

    def leave(self, names):
        going = {digest for name in names for digest in self.present.pop(name).blobs}
        self.forget(going)

    def forget(self, going):
        needed = {digest for model in self.present.values() for digest in model.blobs}
        self.damaged -= going - needed
        self.orphans -= going - needed

    def look_what_a_kill_left(self, names, prune):
        """Each model is there as before or as it was to become, and never without one of its blobs."""
        before, self.present = self.present, {}
        for name in {*before, *names}:
            old, new = before.get(name), self.offered[name] if name in names else None
            file = self.path.joinpath("manifests", *ModelName.parse(name).manifest_parts)
            raw = file.read_bytes() if file.exists() else None
            candidates = [model for model in (old, new) if model is not None and model.raw == raw]
            if raw is None:
                assert old is None or (prune and name not in names), f"{name} is gone"
            else:
                assert candidates, f"the manifest of {name} is neither the old nor the new one"
                self.present[name] = candidates[0]
        needed = {digest for model in self.present.values() for digest in model.blobs}
        there = {entry.name.replace("-", ":", 1) for entry in self.path.glob("blobs/*")}
        # What was damaged is still so, or repaired, or gone.
        self.damaged = {
            digest
            for digest in self.damaged & (needed | there)
            if not self.file(digest).is_file() or digest_of(self.file(digest).read_bytes()) != digest
        }
        self.orphans |= there - needed


@pytest.fixture
def short_journal(monkeypatch):
    """A journal even for small test blobs."""
    monkeypatch.setattr(partial_file, "INTERVAL", 2 * CHUNK)


def test_store_after_any_sequence_of_steps_is_sound(mirror, short_journal):
    run_state_machine_as_test(
        type("AnySequenceHere", (AnySequence,), {"mirror": mirror}),
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    print(f"{ROUNDS} sequences; {KILLED.count(-signal.SIGKILL)} of {len(KILLED)} imports died of SIGKILL")
