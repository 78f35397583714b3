# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_model with LoRA adapters: created once, created again for other bytes, and visible in the model's answers."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services

#: The width of smollm2:135m, which an adapter has to fit, and the rank of ours.
WIDTH, RANK = 576, 4


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def write_adapter(path: Path, size: float) -> Path:
    """Write a LoRA adapter for the queries of the first layer, as GGUF (version 3), with weights of this size."""
    texts = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    entries = [_text(key) + struct.pack("<I", 8) + _text(value) for key, value in texts.items()]
    entries.append(_text("adapter.lora.alpha") + struct.pack("<If", 6, float(RANK)))
    shapes = {"blk.0.attn_q.weight.lora_a": (WIDTH, RANK), "blk.0.attn_q.weight.lora_b": (RANK, WIDTH)}
    tensors, data = b"", b""
    for name, shape in shapes.items():
        tensors += _text(name) + struct.pack("<IQQIQ", len(shape), *shape, 0, len(data))
        values = [size * ((7 * number) % 11 - 5) for number in range(WIDTH * RANK)]
        data += struct.pack(f"<{len(values)}f", *values)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(entries)) + b"".join(entries) + tensors
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def digest_of(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def adapted(any_server: services.OllamaServer) -> Any:
    """A model name; the model is deleted after the test."""
    yield "adapted:latest"
    client = official.Client(any_server.url)
    if "adapted:latest" in {model.model for model in client.list().models}:
        client.delete("adapted:latest")


def test_create_with_an_adapter_is_done_once(
    module: Any, any_server: services.OllamaServer, adapted: str, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "lora.gguf", 0.5)
    options: dict[str, Any] = {"host": any_server.url, "name": adapted}
    create = {"from": "smollm2:135m", "adapters": {"lora.gguf": str(adapter)}}
    predicted = module("ollama_model", check=True, create=create, **options)
    result = module("ollama_model", create=create, **options)
    assert predicted["changed"] is result["changed"] is True, result
    assert predicted["diff"]["after"]["weights"] == result["diff"]["after"]["weights"]
    assert digest_of(adapter) in result["diff"]["after"]["weights"]
    assert len(result["diff"]["after"]["weights"]) == 2, "the weights of the origin, and the adapter"
    shown = official.Client(any_server.url).show(adapted)
    assert f"ADAPTER {any_server.models_path}/blobs/{digest_of(adapter).replace(':', '-')}" in (shown.modelfile or "")
    for check in (False, True):
        again = module("ollama_model", check=check, create=create, **options)
        assert (again["changed"], again["actions"]) == (False, []), again

    write_adapter(adapter, 0.25)
    for check in (True, False):
        other = module("ollama_model", check=check, create=create, **options)
        assert other["changed"] is True and digest_of(adapter) in other["diff"]["after"]["weights"], other
    without = module("ollama_model", create={"from": "smollm2:135m"}, **options)
    assert without["changed"] is True and len(without["diff"]["after"]["weights"]) == 1


def test_create_with_an_adapter_changes_the_answers(
    module: Any, own_server: services.OllamaServer, tmp_path: Path
) -> None:
    texts = {}
    for name, size in (("still", 0.0), ("strong", 0.5)):
        adapter = write_adapter(tmp_path / f"{name}.gguf", size)
        create = {"from": "smollm2:135m", "adapters": {adapter.name: str(adapter)}}
        made = module("ollama_model", host=own_server.url, name=name, create=create)
        assert made["changed"] is True, made
        texts[name] = _answer(own_server, name)
    plain = _answer(own_server, "smollm2:135m")
    for name in texts:
        official.Client(own_server.url).delete(name)
    assert texts["still"] == plain, "an adapter of zeros adds nothing"
    assert texts["strong"] != plain


def _answer(server: services.OllamaServer, model: str) -> str:
    options = {"num_predict": 20, "temperature": 0}
    return official.Client(server.url).generate(model, "The capital of France is", options=options).response
