# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama whose models are in memory, for the modules. Real ones answer in tests/integration/server."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings
from loopback_http import LoopbackServer, QuietHandler, serving


class MemoryOllama(LoopbackServer):
    """What the server has, and what was asked of it.

    :ivar models: digest and size of each model, by name.
    :ivar library: what a pull can find.
    :ivar shown: what `show` says of a model, besides its capabilities.
    :ivar loaded: the entry of `ps` of each model in memory.
    :ivar requests: method and path of every request that was not a question about the state.
    :ivar directory: its store, if it has one on disk; uploads go there, and its models are listed.
    :ivar answers: the answer to an inference, by kind; the last line of its stream.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.models: dict[str, tuple[str, int]] = {}
        self.library: dict[str, tuple[str, int]] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.loaded: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.directory: Optional[Path] = None
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: str = "", *, size: int = 10, **shown: Any) -> str:
        """Add a model; return its digest."""
        digest = hashlib.sha256((content or name).encode()).hexdigest()
        self.models[name] = (digest, size)
        self.shown[name] = {"capabilities": ["completion"], **shown}
        return "sha256:" + digest


@contextlib.contextmanager
def served() -> Iterator[MemoryOllama]:
    """Have an empty server answer for a while."""
    with serving(MemoryOllama()) as made:
        yield made


class _Handler(QuietHandler):
    server: MemoryOllama

    def _answer(self, document: Any, status: int = 200) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _lines(self, *documents: Any) -> None:
        self._answer(b"".join(json.dumps(document).encode() + b"\n" for document in documents))

    def do_GET(self) -> None:
        models = self.server.models
        if self.path == "/api/version":
            self._answer({"version": "0.24.0"})
        elif self.path == "/api/tags":
            self._answer({"models": [_entry(name, *entry) for name, entry in {**models, **self._on_disk()}.items()]})
        elif self.path == "/api/ps":
            found = [{**_entry(name, *models[name]), **entry} for name, entry in self.server.loaded.items()]
            self._answer({"models": found})

    def _on_disk(self) -> dict[str, tuple[str, int]]:
        if self.server.directory is None:
            return {}
        with Store(StoreSettings(str(self.server.directory))) as store:
            manifests = {name.short: store.manifest(name) for name in store.names()}
        return {name: (digest_of(raw).partition(":")[2], len(raw)) for name, raw in manifests.items()}

    def do_HEAD(self) -> None:
        self._answer(b"", 200 if self.path.rpartition("/")[2] in self.server.blobs else 404)

    def do_DELETE(self) -> None:
        name = self._body()["model"]
        self.server.requests.append(("DELETE", name))
        known = self.server.models.pop(name, None)
        self._answer({} if known else {"error": f"model '{name}' not found"}, 200 if known else 404)

    def do_POST(self) -> None:
        path = self.path.removeprefix("/api/")
        if path.startswith("blobs/"):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = path.removeprefix("blobs/")
            got = "sha256:" + hashlib.sha256(content).hexdigest()
            right = digest == got
            self.server.requests.append(("POST", "blob"))
            if right:
                self.server.blobs[digest] = content
                if self.server.directory is not None:
                    (self.server.directory / "blobs" / digest.replace(":", "-")).write_bytes(content)
            self._answer(
                {} if right else {"error": f'digest mismatch, expected "{digest}", got "{got}"'}, 201 if right else 400
            )
            return
        body = self._body()
        if path != "show":
            self.server.requests.append(("POST", path))
            self.server.bodies.append(body)
        getattr(self, f"_{path}")(body)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length")
        if length is not None:
            return dict(json.loads(self.rfile.read(int(length))))
        content = b""
        while size := int(self.rfile.readline().strip(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return dict(json.loads(content))

    def _known(self, name: Optional[str]) -> bool:
        if name in self.server.models:
            return True
        self._answer({"error": f"model '{name}' not found"}, 404)
        return False

    def _show(self, body: dict[str, Any]) -> None:
        if self._known(body["model"]):
            self._answer(self.server.shown[body["model"]])

    def _pull(self, body: dict[str, Any]) -> None:
        name = body["model"]
        if name not in self.server.library:
            self._lines({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"})
            return
        self.server.models[name] = self.server.library[name]
        self.server.shown[name] = {"capabilities": ["completion"]}
        self._lines({"status": "pulling manifest"}, {"status": "success"})

    def _push(self, body: dict[str, Any]) -> None:
        if self._known(body["model"]):
            self._lines({"status": "success"})

    def _copy(self, body: dict[str, Any]) -> None:
        if self._known(body["source"]):
            self.server.models[body["destination"]] = self.server.models[body["source"]]
            self.server.shown[body["destination"]] = self.server.shown[body["source"]]
            self._answer({})

    def _create(self, body: dict[str, Any]) -> None:
        shown = {key: body[key] for key in ("system", "template", "messages") if body.get(key)}
        parameters = "".join(f"{name} {value}\n" for name, value in (body.get("parameters") or {}).items())
        modelfile = "".join(
            f"FROM /blobs/{digest.replace(':', '-')}\n" for digest in (body.get("files") or {}).values()
        )
        self.server.add(body["model"], json.dumps(body), parameters=parameters, modelfile=modelfile, **shown)
        self._lines({"status": "success"})

    def _generate(self, body: dict[str, Any]) -> None:
        name = body["model"]
        if not self._known(name):
            return
        if "prompt" in body:
            self._lines({"response": "Hel", "done": False}, {"response": "lo", **self._done("generate")})
            return
        if "completion" not in self.server.shown[name].get("capabilities", ["completion"]):
            self._answer({"error": f'"{name}" does not support generate'}, 400)
            return
        if body.get("keep_alive") == 0:
            self.server.loaded.pop(name, None)
        else:
            forever = str(body.get("keep_alive", "")).startswith("-")
            self.server.loaded[name] = {
                "expires_at": "2318-03-01T00:00:00Z" if forever else "2026-11-30T12:00:00Z",
                "context_length": (body.get("options") or {}).get("num_ctx", 4096),
            }
        self._answer({"done": True})

    def _chat(self, body: dict[str, Any]) -> None:
        if self._known(body["model"]):
            pieces = ({"message": {"role": "assistant", "content": text}, "done": False} for text in ("Hel", "lo"))
            self._lines(*pieces, {"message": {"role": "assistant", "content": ""}, **self._done("chat")})

    def _embed(self, body: dict[str, Any]) -> None:
        if not self._known(body["model"]):
            return
        if not body["input"]:
            self.server.loaded[body["model"]] = {"expires_at": "2026-11-30T12:00:00Z", "context_length": 512}
        self._answer({"embeddings": [[0.5, 0.25] for _text in body["input"]], "prompt_eval_count": 3})

    def _done(self, kind: str) -> dict[str, Any]:
        usual = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2}
        return {**usual, **self.server.answers.get(kind, {})}


def _entry(name: str, digest: str, size: int) -> dict[str, Any]:
    return {"name": name, "model": name, "digest": digest, "size": size, "details": {"family": "llama"}}
