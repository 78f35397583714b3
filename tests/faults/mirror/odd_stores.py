# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unusual contents of a models directory, as data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from mirror_lab import Model
from odd_tasks import SHARED, path_name

#: Levels of ``manifests/`` by the number of parts of their path.
LEVELS = {"registry": 1, "namespace": 2, "model": 3, "tag": 4}


@dataclass(frozen=True)
class Elsewhere:
    """A directory or file of ``manifests/`` is elsewhere, behind a symbolic link.

    :param relative: whether the link is.
    :param twice: whether there is a second link in between.
    """

    level: str = "registry"
    relative: bool = False
    twice: bool = False

    def apply(self, store: Path, model: Model) -> None:
        """Move a model's part away."""
        parts = path_name(model).split("/")[: LEVELS[self.level]]
        where = store.joinpath("manifests", *parts)
        if where.is_symlink():
            return
        disk = store.parent / "disk"
        disk.mkdir(exist_ok=True)
        target = disk / f"{len(os.listdir(disk))}"
        where.rename(target)
        if self.twice:
            between = disk / f"{target.name}-link"
            between.symlink_to(target)
            target = between
        where.symlink_to(os.path.relpath(target, where.parent) if self.relative else target)


@dataclass(frozen=True)
class Stray:
    """There is a foreign file in ``manifests/``, or an unreadable manifest.

    :param level: its place: that of a registry, a namespace, a model or a tag.
    :param kind: what it is.
    """

    level: str = "tag"
    kind: str = "file"
    name: str = "stray"

    def apply(self, store: Path, _model: Model) -> None:
        """Put it there."""
        parts = ["registry.ollama.ai", "library", "stray", "latest"][: LEVELS[self.level] - 1]
        folder = store.joinpath("manifests", *parts)
        if not folder.is_dir():
            folder.mkdir(parents=True)
        where = folder / self.name
        if os.path.lexists(where):
            return
        if self.kind == "directory":
            where.mkdir()
        elif self.kind == "pipe":
            os.mkfifo(where)
        elif self.kind == "dangling":
            where.symlink_to("/nonexistent/of/legionio")
        elif self.kind == "circle":
            where.symlink_to(where)
        elif self.kind == "up":
            where.symlink_to("..")
        else:
            contents = {
                "file": b"x",
                "empty": b"",
                "cut": b'{"schemaVersion": 2, "layers": [{"digest": "sha256:',
                "binary": bytes(range(256)),
                "large": b" " * (5 << 20),
                "deep": b"[" * 100_000,
                "bad digest": b'{"layers": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}',
            }
            where.write_bytes(contents[self.kind])


@dataclass(frozen=True)
class Also:
    """A manifest of another name also names what the models share.

    :param name: of the model, in path form below ``manifests/``.
    """

    name: str = "registry.ollama.ai/library/A/LATEST"

    def apply(self, store: Path, _model: Model) -> None:
        """Put it there."""
        where = store / "manifests" / self.name
        if not where.exists():
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(Model("also", [SHARED]).raw)


_kinds = ["file", "empty", "cut", "binary", "large", "deep", "bad digest"]
_kinds += ["directory", "pipe", "dangling", "circle", "up"]

#: Any of them.
oddities = st.one_of(
    st.builds(Elsewhere, st.sampled_from(list(LEVELS)), st.booleans(), st.booleans()),
    st.builds(
        Stray,
        st.sampled_from(list(LEVELS)),
        st.sampled_from(_kinds),
        st.sampled_from(["stray", ".DS_Store", "latest (copy)", "\u202e", "a\nb"]),
    ),
    st.builds(
        Also,
        st.sampled_from(
            [
                "registry.ollama.ai/library/A/LATEST",
                "registry.ollama.ai/library/other/latest",
                "Registry.Example/team/x/y",
                ".hidden/team/x/y",
                "registry.example:5000/team/x/v1.0+cpu",
            ]
        ),
    ),
)
