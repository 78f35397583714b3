# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The catalog of a mirror: its models, its blobs, and names that a user may have meant."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple, Optional

from ..._ollama.manifests import Manifest, ManifestError
from ..._ollama.names import ModelName
from ..._ollama.patterns import matches_any
from ..errors import OF_THE_WHOLE_MIRROR, ListError, MirrorAccessError, MirrorError, ModelMissingError
from ..s3.mirror import READERS, Mirror
from ..s3.objects import ObjectState

#: With more blobs than this, one list is cheaper than a request for each blob: a page of a list has 1,000 objects.
_LISTED_FROM = 32

#: The least similarity, from 0 to 1, of a name that a message suggests.
_ALIKE = 0.6


class Listed(NamedTuple):
    """A model of a mirror.

    :param modified: when the manifest was written; ``None`` if the server does not report it.
    :param manifest: ``None`` if the manifest cannot be read.
    :param problem: why the manifest cannot be read; else empty.
    """

    name: ModelName
    modified: Optional[datetime]
    manifest: Optional[Manifest]
    problem: str = ""


def models(mirror: Mirror, patterns: Sequence[str] = ()) -> list[Listed]:
    """Return the models whose names match any of the patterns, or all models, sorted by name.

    A model whose manifest cannot be read is in the list with its problem.
    """
    found = {mirror.layout.name_of(entry.key): entry.modified for entry in mirror.entries(mirror.layout.manifests)}
    wanted = [(name, found[name]) for name in sorted(filter(None, found)) if matches(name, patterns)]
    with ThreadPoolExecutor(READERS) as pool:
        return [listed for listed in pool.map(lambda entry: _listed(mirror, *entry), wanted) if listed]


def blobs(mirror: Mirror, digests: Sequence[str]) -> dict[str, ObjectState]:
    """Return the states of the blobs that the mirror has, by digest.

    A blob that is not in the list, or has no size there, gets its own request.
    """
    keys = {mirror.layout.blob_key(digest): digest for digest in digests}
    found: dict[str, ObjectState] = {}
    if len(keys) > _LISTED_FROM:
        # A key may lack the right to list, and the lists of some servers are incomplete.
        with contextlib.suppress(MirrorAccessError, ListError):
            for entry in mirror.entries(mirror.layout.blobs):
                if entry.key in keys and entry.size is not None:
                    found[keys[entry.key]] = ObjectState(entry.key, entry.size, entry.etag, entry.modified)
    with ThreadPoolExecutor(READERS) as pool:
        states = pool.map(mirror.find, [key for key, digest in keys.items() if digest not in found])
        found.update((keys[state.key], state) for state in states if state)
    return found


def matches(name: ModelName, patterns: Sequence[str]) -> bool:
    """Return whether a name matches any of the patterns, or there are no patterns.

    :raises InvalidNameError: for a pattern that no name can match; ``_ollama/patterns.py`` defines patterns.
    """
    return not patterns or matches_any(name, patterns)


def missing(mirror: Mirror, absent: ModelName) -> ModelMissingError:
    """Return the error for a model that a mirror lacks. The remedy names similar models of the mirror."""
    place = mirror.settings.url(mirror.layout.root)
    try:
        near = nearest(absent, mirror.names())
    except MirrorError:  # a key may lack the right to list
        near = []
    if near:
        remedy = f"Did you mean {' or '.join(near)}? Otherwise publish it with ollama_s3_publish"
    else:
        remedy = "Check bucket and prefix, or publish it with ollama_s3_publish"
    return ModelMissingError(f"The mirror {place} has no model {absent}", remedy=remedy, name=absent.full)


def nearest(absent: ModelName, present: Iterable[ModelName], count: int = 3) -> list[str]:
    """Return the names that a user may have meant, the likeliest first."""

    def likeness(name: ModelName) -> float:
        # The model counts most: a user mistypes its name more often than they mean the same tag of another model.
        model = difflib.SequenceMatcher(None, name.model, absent.model).ratio()
        return 0.8 * model + 0.2 * difflib.SequenceMatcher(None, name.full, absent.full).ratio()

    alike = sorted(((likeness(name), name.short) for name in present), key=lambda pair: (-pair[0], pair[1]))
    return [short for score, short in alike[:count] if score >= _ALIKE]


def _listed(mirror: Mirror, name: ModelName, modified: Optional[datetime]) -> Optional[Listed]:
    try:
        raw = mirror.manifest(name)
        if raw is None:  # removed since it was listed
            return None
        return Listed(name, modified, Manifest.parse(raw))
    except OF_THE_WHOLE_MIRROR:
        raise
    except (ManifestError, MirrorError) as error:
        return Listed(name, modified, None, error.message)
