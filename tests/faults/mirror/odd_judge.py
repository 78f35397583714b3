# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a task against an odd server, and returns the faults of its outcome."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mirror_model
from module_in_process import Run, run
from odd_s3.oddities import Etags, Instead, Oddity, Span
from odd_s3.server import Scene, Server
from odd_tasks import FILE_KEY, PREFIXES, Task, World, told

SECRET = "very-secret-key"

#: Codes that say little without the server's own message.
_REASONED = {"AccessDenied", "InvalidObjectState", "InvalidRequest", "QuotaExceeded"}

#: Errors that say that something is not there: only a server that said so in S3's words makes them true.
_GONE = {"model_missing", "mirror_object_missing", "mirror_bucket_missing"}


@contextlib.contextmanager
def new_world(prefix: str) -> Iterator[World]:
    """An empty world for one run."""
    folder = Path(tempfile.mkdtemp(prefix="odd-s3-"))
    try:
        yield World(PREFIXES[prefix], folder)
    finally:
        shutil.rmtree(folder)


def judge(
    server: Server,
    task: Task,
    oddities: Sequence[Oddity],
    way: str = "direct",
    prefix: str = "ollama/models",
    *,
    recorded: bool = True,
) -> list[str]:
    """Run a task, and return its faults, in words; empty if it is right.

    :param way: of reading, one of ``module_in_process.WAYS``.
    :param prefix: one of ``odd_tasks.PREFIXES``.
    :param recorded: whether the objects have their digests beside them.
    """
    with new_world(prefix) as world:
        task.prepare(world, recorded=recorded)
        arguments = {
            "bucket": world.bucket.name,
            "prefix": prefix,
            "endpoint_url": server.url,
            "access_key": "k",
            "secret_key": SECRET,
            "region": "us-east-1",
            **task.options(world),
        }
        mirror = world.mirror
        wrong = [f"in check mode, {text}" for text in _checked(server, task, world, oddities, arguments, way)]
        outcome, found = _done(server, task, world, oddities, arguments, way)
        wrong += found
        if outcome.failed:
            wrong += _complaints(outcome, oddities, server, world, task)
            if all(oddity.harmless or task.bears(oddity) for oddity in oddities):
                wrong.append(f"a server that is hardly odd made it fail: {outcome.result['msg']}")
        else:
            wrong += task.wrong(world, outcome, mirror)
            if any(isinstance(oddity, Instead) and oddity.hides_all for oddity in oddities):
                wrong.append("it succeeds, and no S3 server ever answered")
            if all(oddity.harmless for oddity in oddities):
                again, found = _done(server, task, world, oddities, arguments, way)
                wrong += [f"the second time, {text}" for text in found]
                if again.failed or again.changed:
                    wrong.append(f"the second time, changed is {again.changed}: {again.result.get('msg', '')}")
        # Whatever was left behind, the same task at a server that is not odd any more comes right.
        healed, found = _done(server, task, world, (), arguments, "direct")
        wrong += [f"afterwards, {text}" for text in found]
        if healed.failed:
            wrong.append(f"afterwards it fails: {healed.result['msg']}")
        elif task.name not in ("absent", "absent already"):  # a first run may have removed a part of it
            wrong += [f"afterwards, {text}" for text in task.wrong(world, healed, mirror)]
        return wrong


def _done(
    server: Server, task: Task, world: World, oddities: Sequence[Oddity], arguments: dict[str, Any], way: str
) -> tuple[Run, list[str]]:
    """Run the task once; return its outcome, and the losses."""
    server.scene = scene = Scene(world.bucket, oddities)
    mirror, stored, objects = world.mirror, world.stored, set(world.bucket.objects)
    outcome = run(task.module, arguments, way)
    wrong: list[str] = []
    publishes = task.module == "ollama_s3_publish"
    of_mirror = {"leaving": task.leaving, "arriving": task.arriving} if publishes else {}
    wrong += [f"in the mirror, {text}" for text in mirror_model.losses(mirror, world.mirror, **of_mirror)]
    of_store = {} if publishes else {"leaving": task.leaving, "arriving": task.arriving}
    wrong += [f"in the store, {text}" for text in mirror_model.losses(stored, world.stored, **of_store)]
    if FILE_KEY not in world.bucket.objects:
        wrong.append("an object that is none of the mirror's is gone")
    if not publishes and task.name != "file published" and objects != set(world.bucket.objects):
        wrong.append("who only reads has changed the bucket")
    if scene.endless:
        wrong.append("it asks without end")
    return outcome, wrong


def _checked(
    server: Server, task: Task, world: World, oddities: Sequence[Oddity], arguments: dict[str, Any], way: str
) -> list[str]:
    """Return the faults of a run in check mode."""
    server.scene = scene = Scene(world.bucket, oddities)
    objects, files = world.bucket.contents(), _files(world.folder)
    outcome = run(task.module, arguments, way, check=True)
    wrong = [] if objects == world.bucket.contents() else ["the bucket has changed"]
    if files != _files(world.folder):
        wrong.append("a file has changed")
    if outcome.result.get("error_code") == "unexpected":
        wrong.append(f"it fails unexpectedly: {outcome.result['msg']}")
    if scene.endless:
        wrong.append("it asks without end")
    return wrong


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _complaints(outcome: Run, oddities: Sequence[Oddity], server: Server, world: World, task: Task) -> list[str]:
    """Return the faults of a failed run."""
    said, code = outcome.result["msg"], outcome.result.get("error_code")
    if not outcome.typed or code == "unexpected":
        return [f"it fails unexpectedly: {said}"]
    names = [model.parsed.short for model in (*task.takes, *task.brings)]
    objects = (f"s3://{world.bucket.name}", FILE_KEY, f"bucket {world.bucket.name}", *names)
    instead = [oddity for oddity in oddities if isinstance(oddity, Instead)]
    elsewhere = any(300 <= oddity.status < 400 and oddity.location.startswith("https") for oddity in instead)
    status = outcome.result.get("status")
    refusals = [oddity for oddity in instead if oddity.place == "abort"]
    causes = {oddity.body for oddity in instead if oddity not in refusals}
    held = {
        "it names no remedy": bool(getattr(outcome.error, "remedy", "")),
        "it tells the secret key": SECRET not in told(outcome),
        "it prints what the server sent as it came": said.isprintable(),
        "it does not name the server": server.url in said or server.url == outcome.result.get("endpoint"),
        "it does not name the object": any(name in said for name in objects),
        "it says that something is not there, which no server said": code not in _GONE
        or any(oddity.says_gone for oddity in oddities),
        "it says that an object was replaced, which was not": code != "mirror_object_changed"
        or "ETag" in said
        or re.search(r"had \d+ bytes", said) is not None  # it tells what was seen
        or any(isinstance(oddity, (Etags, Span)) for oddity in oddities),
        "it tells a status that no answer had": status is None or status in server.scene.statuses,
        "it leaves something out": not re.search(r"\d{3} :|: :|\bNone\b", said),
        "it does not tell what to do about a redirect to https": not elsewhere or "https" in said,
        "it tells why it could not clean up instead of why it failed": not (refusals and causes)
        or outcome.result.get("s3_code") not in {oddity.body for oddity in refusals} - causes,
        "it does not tell the server's own reason": outcome.result.get("s3_code") not in _REASONED
        or "says so" in said
        or not any(oddity.body == outcome.result["s3_code"] and oddity.place != "state" for oddity in instead),
    }
    return [f"{fault}: {said}" for fault, good in held.items() if not good]
