# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A further dialect is a new file and one line in the registry: nothing else knows dialects by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[6]
WORKER = ROOT / "roles" / "fleet_worker" / "files" / "fleet_worker"

#: A format of one line, as far from JSON objects with LegionIO's keys as the registry allows.
NEW_FILE = """
from __future__ import annotations

import json

from ..lanes import Lane
from ..messages import Failure, Message, Properties, Reply, Request
from .base import Dialect, Document, Headers, ReplyIdentity


def recognises(properties: Properties, _headers: Headers, _document: Document) -> bool:
    return properties.type == "terse"


def read(message: Message, document: Document, lane: Lane) -> Request:
    return Request("generate", "generate", lane.model, {"prompt": document["p"]}, reply_to=message.properties.reply_to)


def write(request: Request, outcome: object, worker: ReplyIdentity) -> Reply:
    said = outcome.message if isinstance(outcome, Failure) else outcome.result["response"]
    body = json.dumps([worker.node, said]).encode()
    return Reply("", request.reply_to or "", Message(Properties(type="terse"), {}, body))


DIALECT = Dialect("terse", recognises, read, write)
"""

#: The worker's own server, with an Ollama that is called and a request of the new dialect.
SERVE = """
import json
from types import SimpleNamespace
from fleet_worker._fleet.dialects.base import ReplyIdentity
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Message, Properties
from fleet_worker.domain.delivery import Delivery, LaneSettings
from fleet_worker.inference.handler import HandlerSettings, RequestHandler
from fleet_worker.inference.task import Task
from fleet_worker.inference.cancel_token import CancelToken
from fleet_worker.inference.deltas import DeltaPublisher

client = SimpleNamespace(chat=None, embed=None, chat_stream=None, generate_stream=None,
                         generate=lambda call, **body: {"response": body["prompt"] + " indeed", "done": True})
terms = HandlerSettings(ReplyIdentity("gpu-01"), ("llm.fleet.reply.*",), 1024, 1024, 1.0, False)
message = Message(Properties(type="terse", reply_to="llm.fleet.reply.1"), {}, b'{"p": "So it is"}')
delivery = Delivery(LaneSettings(lane("generate", "m"), 10.0, 0), None, message)
task = Task(delivery, CancelToken(), DeltaPublisher(None, None, None))
served = RequestHandler(terms, client, None).serve(task)
print(json.dumps([served.outcome, served.fields["dialect"], json.loads(served.reply.message.body)]))
"""


def test_a_third_dialect_is_a_file_and_a_line(tmp_path: Path) -> None:
    pytest.importorskip("pika")
    # As the role ships it: real files instead of links.
    shutil.copytree(WORKER, tmp_path / "fleet_worker", ignore=shutil.ignore_patterns("__pycache__"))
    dialects = tmp_path / "fleet_worker" / "_fleet" / "dialects"
    (dialects / "terse.py").write_text(NEW_FILE)
    registry = dialects / "__init__.py"
    text = registry.read_text()
    assert (
        text.count("from . import carried, plain, typed, versioned\n") == 1 and text.count("    typed.DIALECT,\n") == 1
    )
    text = text.replace(
        "from . import carried, plain, typed, versioned\n", "from . import carried, plain, terse, typed, versioned\n"
    )
    registry.write_text(text.replace("    typed.DIALECT,\n", "    terse.DIALECT,\n    typed.DIALECT,\n"))

    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["answered", "terse", ["gpu-01", "So it is indeed"]]


def test_no_file_outside_the_dialects_names_the_module_of_one() -> None:
    rooms = [ROOT / "plugins" / "module_utils", WORKER]
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in rooms
        for path in room.rglob("*.py")
        if "dialects" not in path.parts
        for line in path.read_text().splitlines()
        if "dialects" in line and any(name in line for name in ("typed", "plain", "versioned"))
    ]
    assert found == []
