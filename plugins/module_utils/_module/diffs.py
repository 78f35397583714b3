# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Plans as diffs for people: the state before and after, one line for each blob or model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

from .._mirror.models.plan import ADD, KEEP, REMOVE, Plan
from .._mirror.support.format import in_bytes

#: Blobs shown one by one; a model of safetensors can have thousands, and the largest ones matter.
SHOWN_BLOBS = 50


def plan_diff(plan: Plan, where: str) -> dict[str, str]:
    """Return the diff of a plan for a store or mirror.

    :param where: the path or URL of the store or mirror.
    """
    pairs = [
        *_models(plan),
        *_blobs(plan),
        *((f"pieces of {digest}", "", "listed") for digest in plan.pieces),
        *((change.path, change.before, change.after) for change in plan.access),
    ]
    return {
        "before_header": where,
        "after_header": where,
        "before": "".join(f"{what}: {before}\n" for what, before, _after in pairs if before),
        "after": "".join(f"{what}: {after}\n" for what, _before, after in pairs if after),
    }


def file_diff(
    what: str,
    before: Optional[str],
    after: Optional[str],
    size: int,
    attributes: Mapping[str, Mapping[str, object]],
) -> dict[str, str]:
    """Return the diff of one file or object.

    :param attributes: the changed attributes of the file, ``before`` and ``after``, such as its mode.
    """
    lines = {
        "before": f"{before}\n" if before else "",
        "after": f"{after} ({in_bytes(size)})\n" if after and before != after else f"{after}\n" if after else "",
    }
    for moment, values in attributes.items():
        lines[moment] += "".join(f"{name}: {value}\n" for name, value in values.items() if name != "path")
    return {"before_header": what, "after_header": what, **lines}


def _models(plan: Plan) -> Iterable[tuple[str, str, str]]:
    for model in plan.models:
        before, after = model.before or "", ""
        if model.after is not None:
            after = f"{model.after.digest}" + ("" if model.action == KEEP else f" ({in_bytes(model.after.size)})")
        yield f"model {model.name}", before, after


def _blobs(plan: Plan) -> Iterable[tuple[str, str, str]]:
    changes = sorted((blob for blob in plan.blobs if blob.action != KEEP), key=lambda blob: -blob.size)
    for blob in changes[:SHOWN_BLOBS]:
        size = in_bytes(blob.size)
        what = f"blob {blob.digest}"
        if blob.action == ADD:
            yield what, "", size
        elif blob.action == REMOVE:
            yield what, size, ""
        else:
            yield what, f"to be replaced: {blob.reason}", size
    rest = changes[SHOWN_BLOBS:]
    for action, before, after in ((ADD, "", "{}"), (REMOVE, "{}", ""), ("replace", "to be replaced", "{}")):
        same = [blob for blob in rest if blob.action == action]
        if same:
            size = in_bytes(sum(blob.size for blob in same))
            yield f"{len(same)} smaller blobs", before.format(size), after.format(size)
