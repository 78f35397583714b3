# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks at an odd server: one for each way in which a module uses the mirror."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mirror_model
from mirror_lab import Model
from mirror_model import Models, digest_of
from module_in_process import Run
from odd_s3.bucket import Bucket
from odd_s3.oddities import Oddity

BLOCK = 8 * 1024
SHARED = b"a layer of several models " * 100
LARGE = b"".join(b"%7d\n" % number for number in range(3 * BLOCK // 8)) + b"end"

A = Model("a", [SHARED, b"a1"])
NEW_A = Model("a", [SHARED, b"a2"])
B = Model("b", [SHARED, b"b1", b""])
C = Model("registry.example:5000/team/c:v1.0", [LARGE, b"b1"])
#: It shares with A what no other model has, and comes last in a listing.
Z = Model("z", [SHARED, b"a1", b"z1"])
D = Model("d", [SHARED, LARGE[::-1], b"d1"])
E = Model("e", [SHARED])
LOCAL = Model("local", [SHARED, b"l1"])
MANY = Model("many", [SHARED, *(b"layer %d" % number for number in range(34))])

#: Prefixes as people write them, and what the keys then begin with.
PREFIXES = {
    "ollama/models": "ollama/models/",
    "my models": "my models/",
    "/ollama//models/": "ollama/models/",
    "": "",
    "a+b/100%/ü&<x>'": "a+b/100%/ü&<x>'/",
}

FILE_KEY = "tools/a file+1.tar"


def path_name(model: Model) -> str:
    return "/".join(model.parsed.manifest_parts)


@dataclass
class World:
    """A bucket and a store before a task."""

    root: str
    folder: Path
    bucket: Bucket = field(default_factory=Bucket)

    @property
    def store(self) -> Path:
        return self.folder / "models"

    def publish(self, *models: Model, recorded: bool = True) -> None:
        for model in models:
            for digest, content in model.blobs.items():
                self.put(f"{self.root}blobs/{digest.replace(':', '-')}", content, recorded=recorded)
            self.put(f"{self.root}manifests/{path_name(model)}", model.raw, recorded=recorded)

    def put(self, key: str, content: bytes, *, recorded: bool = True) -> None:
        self.bucket.put(key, content, {"sha256": digest_of(content).partition(":")[2]} if recorded else {})

    @property
    def mirror(self) -> Models:
        return mirror_model.of_objects(self.bucket.contents(), self.root)

    @property
    def stored(self) -> Models:
        return mirror_model.of_store(self.store)


@dataclass(frozen=True)
class Task:
    """One module run, and its right outcome.

    :param mirror: the models that the mirror has before.
    :param store: the models that the store has before.
    :param takes: models whose manifests may go.
    :param brings: models whose manifests may come, or be replaced.
    """

    name: str
    module: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mirror: tuple[Model, ...] = (A, B, C, E, Z)
    store: tuple[Model, ...] = ()
    takes: tuple[Model, ...] = ()
    brings: tuple[Model, ...] = ()

    def prepare(self, world: World, *, recorded: bool) -> None:
        """Fill the mirror and the store."""
        world.publish(*self.mirror, recorded=recorded)
        world.put(FILE_KEY, LARGE)
        world.store.mkdir()
        for model in self.store:
            model.store(world.store)

    def options(self, world: World) -> dict[str, Any]:
        """Return the parameters of the module besides the server."""
        paths = {"models_path": str(world.store)} if self.module in ("ollama_s3_import", "ollama_s3_publish") else {}
        return {**paths, **self.arguments}

    def bears(self, oddity: Oddity) -> bool:
        """Return whether the task must not fail by an oddity that concerns one object only."""
        return False

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        """Return the faults of a successful run, in words.

        :param before: the mirror before it.
        """
        return []

    @property
    def leaving(self) -> set[str]:
        return {path_name(model) for model in self.takes}

    @property
    def arriving(self) -> dict[str, bytes]:
        return {path_name(model): model.raw for model in self.brings}


class Import(Task):
    """Import models of the mirror into the store."""

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        return _lacking(world.stored, self)


class Publish(Task):
    """Publish models of the store to the mirror."""

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        return _lacking(world.mirror, self)


class Absent(Task):
    """Remove models from the mirror."""

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        wrong = _lacking(world.mirror, self)
        after = world.mirror
        expected = any(name in before.manifests for name in self.leaving)
        if run.changed != expected:
            wrong.append(f"changed is {run.changed}")
        named = {digest for name in after.manifests for digest in after.of(name)}
        useless = {digest for name in self.leaving & set(before.manifests) for digest in before.of(name)} - named
        if useless & set(after.blobs) and not run.warnings:
            wrong.append(f"{len(useless & set(after.blobs))} useless blobs stay without a word")
        return wrong


class Info(Task):
    """List the models of the mirror."""

    def bears(self, oddity: Oddity) -> bool:
        return oddity.place == "one manifest"

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        listed = {entry["full_name"]: entry["digest"] for entry in run.result["models"]}
        right = {":".join(name.rsplit("/", 1)): digest_of(raw) for name, raw in before.manifests.items()}
        broken = len(run.result["broken"])
        wrong = [f"{name} is listed with {digest}" for name, digest in listed.items() if right.get(name) != digest]
        if len(listed) + broken != len(right):
            wrong.append(f"{len(listed)} models and {broken} broken ones are listed of {len(right)}")
        return wrong


class Fetch(Task):
    """Download an object to a file."""

    def options(self, world: World) -> dict[str, Any]:
        return {"key": FILE_KEY, "path": str(world.folder / "file"), **self.arguments}

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        return [] if (world.folder / "file").read_bytes() == LARGE else ["the file has another content"]


class Deposit(Task):
    """Upload a file to an object."""

    def prepare(self, world: World, *, recorded: bool) -> None:
        super().prepare(world, recorded=recorded)
        (world.folder / "file").write_bytes(LARGE)

    def options(self, world: World) -> dict[str, Any]:
        return {"key": "new/file", "path": str(world.folder / "file"), "state": "published"}

    def wrong(self, world: World, run: Run, before: Models) -> list[str]:
        stored = world.bucket.objects.get("new/file")
        return [] if stored and stored.content == LARGE else ["the object has another content"]


def _lacking(models: Models, task: Task) -> list[str]:
    lacking = [f"{name} is not there" for name, raw in task.arriving.items() if models.manifests.get(name) != raw]
    return lacking + [f"{name} is still there" for name in task.leaving if name in models.manifests]


_QUICK = {"chunk_size": str(BLOCK), "concurrency": 2}

_ALL = (
    Import("import", "ollama_s3_import", {"models": ["a", C.name], **_QUICK}, store=(LOCAL, NEW_A), brings=(A, C)),
    Import(
        "import of many blobs",
        "ollama_s3_import",
        {"models": ["many"], **_QUICK},
        mirror=(A, MANY),
        brings=(MANY,),
    ),
    Import(
        "import and prune",
        "ollama_s3_import",
        {"models": ["b"], "prune": True, **_QUICK},
        store=(LOCAL, A),
        takes=(LOCAL, A),
        brings=(B,),
    ),
    Publish("publish", "ollama_s3_publish", {"models": ["a", "d"]}, store=(NEW_A, D), brings=(NEW_A, D)),
    Publish(
        "publish and prune",
        "ollama_s3_publish",
        {"models": ["a", "d"], "prune": True, "prune_scope": ["registry.example:5000/team/*"]},
        store=(NEW_A, D),
        takes=(C,),
        brings=(NEW_A, D),
    ),
    Absent("absent", "ollama_s3_publish", {"models": ["a", C.name], "state": "absent"}, takes=(A, C)),
    Absent("absent already", "ollama_s3_publish", {"name": "local", "state": "absent"}, takes=(LOCAL,)),
    Info("info", "ollama_s3_info"),
    Fetch("file", "ollama_s3_file"),
    Fetch("file with checksum", "ollama_s3_file", {"checksum": digest_of(LARGE)}),
    Deposit("file published", "ollama_s3_file"),
)

TASKS = {task.name: task for task in _ALL}


def told(run: Run) -> str:
    """Return all messages of a failed run, as one text."""
    return json.dumps({name: value for name, value in run.result.items() if name not in ("exception", "invocation")})
