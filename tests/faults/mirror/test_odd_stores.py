# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal from a store with links, foreign files and unreadable manifests: no model loses a blob."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import mirror_model
import module_in_process
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mirror_lab import Model
from mirror_model import Models
from odd_judge import new_world
from odd_s3.server import Scene
from odd_stores import Also, Elsewhere, Stray, oddities
from odd_tasks import LARGE, SHARED, A, B, C, path_name

OLD_B = Model("b", [SHARED, b"b of before"])
#: It shares with each of the models that go what no third one has.
OWN = Model("registry.own/team/own", [b"a1", LARGE, b"b of before"])

#: The models of the store.
STORED = {"a": A, "b": OLD_B, "c": C, "own": OWN}

#: What removes something from a store: the module's arguments, the models that go, and those that come.
RUNS = {
    "absent": ({"models": ["a", C.name], "state": "absent"}, (A, C), ()),
    "prune": ({"models": ["b"], "prune": True, "prune_scope": ["a*", "registry.example:5000/team/c*"]}, (A, C), (B,)),
    "another version": ({"models": ["b"]}, (), (B,)),
}


def seen_by_ollama(store: Path) -> Models:
    """Return the models of a store as Ollama finds them, including links."""
    manifests: dict[str, bytes] = {}
    for file in glob.glob("*/*/*/*", root_dir=store / "manifests", include_hidden=True):
        where = store / "manifests" / file
        if where.is_file() and where.stat().st_size < 1 << 20:
            manifests[file] = where.read_bytes()
    return Models(manifests, mirror_model.of_store(store).blobs)


def give_away(folder: Path) -> None:
    """Let everything belong to another user, where this one may do that."""
    folder.chmod(0o755)
    if os.geteuid() == 0:
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(place) / name, 977, 977, follow_symlinks=False)


@pytest.mark.parametrize("run", RUNS)
@given(
    strange=st.lists(st.tuples(oddities, st.sampled_from(list(STORED))), min_size=1, max_size=3),
    served=st.booleans(),
    check=st.booleans(),
)
@example(strange=[(Elsewhere("registry"), "own")], served=True, check=False)
@example(strange=[(Elsewhere("registry"), "c")], served=True, check=False)
@example(strange=[(Elsewhere("namespace"), "own")], served=True, check=False)
@example(strange=[(Elsewhere("model"), "own")], served=True, check=False)
@example(strange=[(Elsewhere("tag", relative=True), "own")], served=True, check=False)
@example(strange=[(Stray("model", "circle"), "a"), (Elsewhere("model", twice=True), "own")], served=True, check=False)
@example(strange=[(Stray("tag", "cut"), "a")], served=True, check=False)
@example(strange=[(Also("registry.ollama.ai/library/A/LATEST"), "a")], served=True, check=False)
def test_removal_from_a_malformed_store_leaves_every_other_model_whole(odd_server, run, strange, served, check):
    arguments, takes, brings = RUNS[run]
    with new_world("ollama/models") as world:
        world.publish(A, B, C)
        for model in STORED.values():
            model.store(world.store)
        for oddity, name in strange:
            oddity.apply(world.store, STORED[name])
        if served:  # by a service user, while the task is root's: another case, since root follows no links of theirs
            give_away(world.folder)
        before = seen_by_ollama(world.store)
        odd_server.scene = Scene(world.bucket)
        settings = {"bucket": "models", "endpoint_url": odd_server.url, "access_key": "k", "secret_key": "s"}
        options = {**settings, **arguments, "models_path": str(world.store)}
        outcome = module_in_process.run("ollama_s3_import", options, check=check)
        after = seen_by_ollama(world.store)
        # Ollama looks names up without regard to case.
        gone = {path_name(model).lower() for model in takes}
        leaving = {name for name in before.manifests if name.lower() in gone}
        arriving = {path_name(model): model.raw for model in brings}
        assert not mirror_model.losses(before, after, leaving=leaving, arriving=arriving)
        if check:
            assert after == before
        assert outcome.typed or not outcome.failed, outcome.result
        if not outcome.failed and not check:
            assert all(after.manifests.get(name) == raw for name, raw in arriving.items())
            left = [path_name(model) for model in takes if path_name(model) in after.manifests]
            assert not left or any("manifests" in text for text in outcome.warnings), f"{left} stay without a word"
