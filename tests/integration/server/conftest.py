# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible runs them, against real servers."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import services
from depth import choose_versions
from registry import Registry, running_registry

#: Runs a module: its name, then its options. Returns its result, with `rc`.
RunModule = Callable[..., dict[str, Any]]


def run_module(module_name: str, /, *, check: bool = False, environment: Any = None, **options: Any) -> dict[str, Any]:
    """Run a module in a separate process, as on a target, and return its result."""
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.legionio.ollama.plugins.modules.{module_name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        check=False,
        text=True,
    )
    assert len(done.stdout.strip().splitlines()) == 1, (
        f"one line of JSON and nothing else:\n{done.stdout}\n{done.stderr}"
    )
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode != 0) == bool(result.get("failed")), done.stderr
    assert "Traceback" not in result.get("msg", "")
    return result


@pytest.fixture
def module() -> RunModule:
    return run_module


def own_store(model_store: Path, path: Path) -> Path:
    """A writable store with the lab's models: copied manifests, linked blobs."""
    shutil.copytree(model_store / "manifests", path / "manifests")
    (path / "blobs").mkdir()
    for blob in (model_store / "blobs").iterdir():
        (path / "blobs" / blob.name).symlink_to(blob)
    return path


@pytest.fixture(scope="session")
def registry(model_store: Path) -> Iterator[Registry]:
    """A registry that offers both models of the lab under their own names and those of registry.example.com:5000."""
    with running_registry() as registry:
        for model, tag in (("smollm2", "135m"), ("all-minilm", "latest")):
            registry.offer("registry.ollama.ai", f"library/{model}", tag, model_store, (model, tag))
            registry.offer("registry.example.com:5000", f"team/{model}", tag, model_store, (model, tag))
        yield registry


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_versions(metafunc, "any_server")


@pytest.fixture(scope="session")
def any_server(
    request: pytest.FixtureRequest, model_store: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[services.OllamaServer]:
    """An Ollama of the version that the test is to run on, over a store that tests may change.

    Only the build "ollama" can infer.
    """
    store = own_store(model_store, tmp_path_factory.mktemp("store"))
    with services.ollama_server(store, env=registry.environment, build=request.param) as running:
        yield running


@pytest.fixture(scope="session")
def own_server(
    model_store: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[services.OllamaServer]:
    """The version that can infer, over a store that tests may change."""
    store = own_store(model_store, tmp_path_factory.mktemp("store"))
    with services.ollama_server(store, env=registry.environment) as running:
        yield running


@pytest.fixture(scope="session")
def weights(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of smollm2 as a GGUF file."""
    manifest = json.loads((model_store / "manifests/registry.ollama.ai/library/smollm2/135m").read_bytes())
    (digest,) = [layer["digest"] for layer in manifest["layers"] if layer["mediaType"].endswith(".model")]
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    path.symlink_to(model_store / "blobs" / digest.replace(":", "-"))
    return path


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a model with an untrained layer, in safetensors format: enough to be converted and to embed."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    width, inner = 32, 64
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
    shapes = {
        "embeddings.word_embeddings.weight": (len(words), width),
        "embeddings.position_embeddings.weight": (64, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        **_pair("embeddings.LayerNorm", (width,)),
        **_pair("encoder.layer.0.attention.self.query", (width, width)),
        **_pair("encoder.layer.0.attention.self.key", (width, width)),
        **_pair("encoder.layer.0.attention.self.value", (width, width)),
        **_pair("encoder.layer.0.attention.output.dense", (width, width)),
        **_pair("encoder.layer.0.attention.output.LayerNorm", (width,)),
        **_pair("encoder.layer.0.intermediate.dense", (inner, width)),
        **_pair("encoder.layer.0.output.dense", (width, inner)),
        **_pair("encoder.layer.0.output.LayerNorm", (width,)),
    }
    config = {
        "architectures": ["BertModel"],
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "max_position_embeddings": 64,
        "layer_norm_eps": 1e-12,
        "vocab_size": len(words),
        "torch_dtype": "float32",
    }
    documents = {
        "config.json": config,
        "tokenizer.json": {
            "model": {"type": "WordPiece", "vocab": {word: number for number, word in enumerate(words)}}
        },
        "tokenizer_config.json": {},
        "modules.json": [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }
    for name, document in documents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    (folder / "vocab.txt").write_text("\n".join(words))
    _write_safetensors(folder / "model.safetensors", shapes)
    return folder


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    head, data = {}, b""
    for name, shape in shapes.items():
        values = [((7 * number) % 11 - 5) / 10 for number in range(math.prod(shape))]
        piece = struct.pack(f"<{len(values)}f", *values)
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    header = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
