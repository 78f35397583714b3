# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts for tests of clients: packages of npm, and a real model that calls tools."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Union

import playwright
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from fleet_parts import CHAT_MODEL
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from services import part

SCRIPTS = Path(__file__).resolve().parent / "node_clients"

#: The Node.js that comes with Playwright: the npm package openai wants a newer one than Debian 12 has.
NODE = Path(playwright.__file__).parent / "driver" / "node"

#: A picture of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

#: A chat model that can call tools. The lab's model has too few parameters to choose any, but at temperature 0 it
#: copies what it is shown to copy, and Ollama reads the copy as calls, as it reads those of any other model.
COPIER = "copier:1"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Look up the {what} of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name, what in (("get_weather", "weather"), ("get_time", "time"))
]

#: The calls that the model is asked to make, as each interface should return them.
WANTED = [("get_weather", {"city": "Paris"}), ("get_time", {"city": "Rome"})]


def _as_text(calls: list[tuple[str, dict[str, str]]]) -> str:
    return json.dumps([{"name": name, "parameters": arguments} for name, arguments in calls])


#: The request to make them.
COPY_CALLS = f"Copy: {_as_text(WANTED)}"

_SHOWN = "".join(
    f"<|im_start|>user\nCopy: {text}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"
    for text in (
        _as_text([("add", {"a": "one"}), ("add", {"a": "two"})]),
        _as_text([("sell", {"what": "book"}), ("buy", {"what": "car"})]),
        _as_text([("get_time", {"zone": "Asia"}), ("get_date", {"zone": "Europe"})]),
    )
)
#: How the model is asked, in the language of Ollama's templates.
_TEMPLATE = (
    "{{- if .Tools }}{{ range .Tools }}{{ end }}"
    + _SHOWN
    + """{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}
{{- if .ToolCalls }}[{{ range .ToolCalls }}{"name": "{{ .Function.Name }}",
"parameters": {{ .Function.Arguments }}}{{ end }}]{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
)


def store_of_its_own(model_store: Path, path: Path) -> Path:
    """Make a store with the lab's models that can be changed: manifests copied, blobs linked."""
    shutil.copytree(model_store / "manifests", path / "manifests")
    (path / "blobs").mkdir()
    for blob in (model_store / "blobs").iterdir():
        (path / "blobs" / blob.name).symlink_to(blob)
    return path


def create_copier(url: str) -> None:
    """Make the model on an Ollama."""
    with OllamaClient(url) as client:
        client.create(
            COPIER,
            **{"from": CHAT_MODEL},
            template=_TEMPLATE,
            parameters={"temperature": 0, "stop": ["<|im_end|>"]},
        ).wait()


def chat_of(kind: str, url: str, key: str = "unused", model: str = CHAT_MODEL) -> Union[ChatOllama, ChatOpenAI]:
    """Make a chat model of LangChain, as docs/gateway.md says.

    :param kind: ``ChatOllama`` or ``ChatOpenAI``.
    """
    if kind == "ChatOllama":
        return ChatOllama(
            model=model,
            base_url=url,
            client_kwargs={"headers": {"Authorization": f"Bearer {key}"}},
            temperature=0,
            num_predict=40,
        )
    return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=key, temperature=0, max_tokens=40, max_retries=0)


class NodePackage:
    """An npm package that asks a gateway.

    :param name: ``openai`` or ``ollama``.
    """

    def __init__(self, name: str, directory: Path, url: str, key: str = "unused") -> None:
        self._script = directory / f"{name}_client.mjs"
        shutil.copy(SCRIPTS / self._script.name, self._script)
        (directory / "node_modules").symlink_to(part("node-clients") / "node_modules")
        self._url = url
        self._key = key

    def said(self, call: str, **asked: Any) -> dict[str, Any]:
        """Return what a call of the package came to: ``returned``, or ``error``, ``status`` and ``message``."""
        done = subprocess.run(
            [str(NODE), str(self._script), call, self._url, self._key, json.dumps(asked)],
            env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def returned(self, call: str, **asked: Any) -> Any:
        """Return what a call of the package returned."""
        said = self.said(call, **asked)
        assert "returned" in said, said
        return said["returned"]
