# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the lab's two models through Ollama's API: models.py WEIGHTS STORE"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from services import ollama_server

# The chat format SmolLM2-Instruct was trained with (ChatML).
TEMPLATE = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""

# Threads of one inference wait for each other by spinning. Where two nodes and a test run share two cores, two threads
# were measured to be 15 times slower than one.
ONE_THREAD = {"num_thread": 1}

# Ollama's converter wants these; other files of the package would only be dead weight.
EMBEDDING_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
)


def call(method: str, url: str, data: bytes) -> bytes:
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        content: bytes = answer.read()
        return content


def upload(url: str, path: Path) -> str:
    content = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    call("POST", f"{url}/api/blobs/{digest}", content)
    return digest


def create(url: str, body: dict[str, Any]) -> None:
    answer = json.loads(call("POST", url + "/api/create", json.dumps({"stream": False, **body}).encode()))
    if answer.get("status") != "success":
        raise SystemExit(f"Ollama did not create {body['model']}: {answer}")


def remove_uploads(store: Path) -> None:
    """Delete the blobs that went into a model and are not part of one (Ollama itself waits an hour before it does)."""
    used = set()
    for path in (store / "manifests").glob("*/*/*/*"):
        manifest = json.loads(path.read_bytes())
        used |= {layer["digest"].replace(":", "-") for layer in [manifest["config"], *manifest["layers"]]}
    for blob in (store / "blobs").iterdir():
        if blob.name not in used:
            blob.unlink()


def main() -> None:
    weights, store = Path(sys.argv[1]), Path(sys.argv[2])
    (gguf,) = weights.rglob("SmolLM2-135M-Instruct.Q4_1.gguf")
    (embedding,) = (path.parent for path in weights.rglob("sentence_bert_config.json"))
    store.mkdir()
    with ollama_server(store) as server:
        create(
            server.url,
            {
                "model": "smollm2:135m",
                "files": {gguf.name: upload(server.url, gguf)},
                "template": TEMPLATE,
                # Temperature 0: the same question has the same answer in every test.
                "parameters": {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0, **ONE_THREAD},
            },
        )
        files = {name: upload(server.url, embedding / name) for name in EMBEDDING_FILES}
        create(server.url, {"model": "all-minilm:latest", "files": files, "parameters": ONE_THREAD})
    remove_uploads(store)


if __name__ == "__main__":
    main()
