# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import (
    MAX_BLOB_SIZE,
    MAX_MANIFEST_SIZE,
    Layer,
    Manifest,
    ManifestError,
    UnsupportedManifestError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
MODEL = "application/vnd.ollama.image.model"


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def layer(text: str = "weights", **changes: Any) -> dict[str, Any]:
    return {"mediaType": MODEL, "digest": digest(text), "size": len(text), **changes}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER,
        "config": layer("config", mediaType="application/vnd.docker.container.image.v1+json"),
        "layers": [layer()],
        **changes,
    }


def parsed(body: object) -> Manifest:
    return Manifest.parse(json.dumps(body).encode())


def test_a_manifest_of_ollama_is_read_and_its_bytes_are_kept():
    raw = b" " + json.dumps(manifest(), indent=3).encode() + b"\n"
    read = Manifest.parse(raw)
    assert read.raw == raw
    assert read.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert read.layers == (Layer(MODEL, digest("weights"), 7),)
    assert read.config is not None
    assert read.config.digest == digest("config")
    assert read.size == 13


@pytest.mark.parametrize("config", [None, {}, {"digest": ""}, {"mediaType": "", "digest": "", "size": 0}])
def test_a_configuration_may_be_missing(config):
    read = parsed(manifest(config=config))
    assert read.config is None
    assert [blob.digest for blob in read.blobs] == [digest("weights")]


@pytest.mark.parametrize("layers", [None, []])
def test_a_stub_for_a_remote_model_has_no_layers(layers):
    assert [blob.digest for blob in parsed(manifest(layers=layers)).blobs] == [digest("config")]


def test_a_blob_named_several_times_is_one_blob():
    read = parsed(manifest(layers=[layer(), layer("config"), layer(name="again")]))
    assert [blob.digest for blob in read.blobs] == [digest("weights"), digest("config")]
    assert read.size == 13
    assert len(read.layers) == 3


def test_layers_may_be_empty_files_and_have_names():
    read = parsed(manifest(layers=[layer("", name="model.embed_tokens.weight")]))
    assert read.layers[0].size == 0
    assert read.layers[0].name == "model.embed_tokens.weight"


def test_a_registry_may_call_it_an_oci_manifest_or_nothing():
    assert parsed(manifest(mediaType="application/vnd.oci.image.manifest.v1+json")).layers
    body = manifest()
    del body["mediaType"]
    assert parsed(body).layers


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": "application/vnd.ollama.manifest.list.v2+json", "layers": None},
        {"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
        {"mediaType": "application/x-unheard-of"},
        {"mediaType": 5},
        {"manifests": [{"digest": digest("child")}]},
        {"schemaVersion": 1},
        {"schemaVersion": 2.0},
        {"schemaVersion": True},
        {"schemaVersion": None},
    ],
)
def test_other_kinds_are_refused_as_such(changes):
    with pytest.raises(UnsupportedManifestError):
        parsed(manifest(**changes))


@pytest.mark.parametrize(
    "bad",
    [
        {"digest": "sha256:" + "A" * 64},
        {"digest": "sha256:../../../../etc/passwd"},
        {"digest": "sha256:" + "a" * 63 + "/"},
        {"digest": "sha256:" + "a" * 64 + "\n"},
        {"digest": "md5:" + "a" * 32},
        {"digest": ""},
        {"digest": None},
        {"digest": 7},
        {"size": -1},
        {"size": MAX_BLOB_SIZE + 1},
        {"size": 10**19},
        {"size": 1.0},
        {"size": "7"},
        {"size": True},
        {"size": None},
        {"name": "a\nb"},
        {"name": "\ud800"},
        {"name": ["x"]},
        {"mediaType": "\x1b[2J"},
        {"mediaType": None},
    ],
)
def test_layers_that_no_tool_writes_are_refused(bad):
    with pytest.raises(ManifestError):
        parsed(manifest(layers=[layer(), layer("other", **bad)]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" \n",
        b"\0" * 512,
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"schemaVersion": 2',
        json.dumps(manifest()).encode() + b"{}",
        json.dumps(manifest()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(manifest()).encode(),
        json.dumps(manifest()).encode().replace(b"vnd.ollama", b"vnd.\xff\xfe"),
        b'{"schemaVersion": 2, "layers": "x"}',
        b'{"schemaVersion": 2, "layers": ["x"]}',
        b'{"schemaVersion": 2, "layers": [], "config": 5}',
        b'{"schemaVersion": 2, "layers": []}',
        b'{"schemaVersion": 2, "layers": NaN}',
        b'{"schemaVersion": 1e999, "layers": []}',
    ],
)
def test_parse_other_document_is_refused(raw):
    with pytest.raises(ManifestError):
        Manifest.parse(raw)


def test_one_digest_cannot_have_two_sizes():
    with pytest.raises(ManifestError, match="two sizes"):
        parsed(manifest(layers=[layer(), layer(size=8)]))


@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f", "Config", "mediatype", "Manifests"])
def test_a_key_that_only_ollama_would_understand_is_refused(key):
    with pytest.raises(ManifestError, match="takes for"):
        parsed({**manifest(), key: [layer("hidden")]})


def test_equal_keys_are_refused():
    raw = json.dumps(manifest()).encode().replace(b'"layers"', b'"layers": [], "layers"', 1)
    with pytest.raises(ManifestError, match="twice"):
        Manifest.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 1_000_000,
        b'{"schemaVersion":' * 200_000,
        b'{"schemaVersion": ' + b"9" * 4_000_000 + b"}",
        b'{"schemaVersion": 2, "layers": ' + b" " * MAX_MANIFEST_SIZE + b"[]}",
    ],
    ids=["deep lists", "deep objects", "long number", "large file"],
)
def test_parse_exhausting_document_is_refused_at_once(raw):
    start = time.thread_time()  # of the processor, which others may use too
    with pytest.raises(ManifestError):
        Manifest.parse(raw)
    assert time.thread_time() - start < 2


# On a busy machine, time says nothing about the code.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_no_bytes_cause_any_other_error(raw):
    with pytest.raises(ManifestError):
        Manifest.parse(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(digest("weights")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["digest", "size", "mediaType", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests"]), json_values))
def test_no_json_causes_any_other_error_or_an_unsafe_manifest(body):
    body["schemaVersion"] = 2
    try:
        read = Manifest.parse(json.dumps(body).encode())
    except ManifestError:
        return
    for blob in read.blobs:
        assert len(blob.digest) == 71
        assert 0 <= blob.size <= MAX_BLOB_SIZE
