# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorSettingsError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.catalog import matches, nearest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.layout import Layout
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.support.format import in_bytes
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import InvalidDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "prefix, root",
    [
        ("ollama/models", "ollama/models/"),
        ("/ollama/models/", "ollama/models/"),
        ("ollama//models", "ollama/models/"),
        ("///ollama////models//", "ollama/models/"),
        ("my models", "my models/"),
        ("", ""),
        ("/", ""),
        ("//", ""),
        ("a", "a/"),
        ("a/.b/..c", "a/.b/..c/"),
    ],
)
def test_keys_lie_below_the_prefix(prefix, root):
    layout = Layout.below(prefix)
    name = ModelName.parse("hf.co/user/repo:Q4")
    assert layout.manifest_key(name) == f"{root}manifests/hf.co/user/repo/Q4"
    assert layout.blob_key(DIGEST) == f"{root}blobs/sha256-{'a' * 64}"
    assert layout.name_of(layout.manifest_key(name)) == name


@pytest.mark.parametrize("prefix", [".", "..", "a/../b", "a/./b", "/a/..", "models\n", "a\tb", "a\x00"])
def test_a_prefix_that_is_another_place_in_a_path_is_refused(prefix):
    with pytest.raises(MirrorSettingsError, match="prefix is"):
        Layout.below(prefix)


@pytest.mark.parametrize(
    "key",
    [
        "p/manifests/registry.ollama.ai/library/llama3",
        "p/manifests/registry.ollama.ai/library/llama3/a/b",
        "p/manifests/registry.ollama.ai/library/llama3/.DS_Store",
        "p/manifests/registry.ollama.ai/library/../latest",
        "p/manifests//library/llama3/latest",
        "p/manifests/registry.ollama.ai/library/llama3/",
        "q/manifests/registry.ollama.ai/library/llama3/latest",
        "p/blobs/registry.ollama.ai/library/llama3/latest",
    ],
)
def test_other_keys_are_nobodys_manifest(key):
    assert Layout.below("p").name_of(key) is None


@given(st.text())
def test_no_digest_leads_out_of_the_blobs(text):
    try:
        key = Layout.below("p").blob_key(text)
    except InvalidDigestError:
        return
    assert key.startswith("p/blobs/sha256-")
    assert "/" not in key[len("p/blobs/") :]


@pytest.mark.parametrize(
    "name, pattern, found",
    [
        ("llama3:8b", "llama3*", True),
        ("llama3:8b", "llama3", False),
        ("llama3", "llama3", True),
        ("llama3", "llama3:latest", True),
        ("llama3:8b", "*:8b", True),
        ("llama3:8b", "registry.ollama.ai/library/*", True),
        ("llama3:8b", "library/llama3:*", True),
        ("hf.co/user/repo:Q4", "hf.co/*", True),
        ("hf.co/user/repo:Q4", "user/repo:Q4", False),
        ("hf.co/user/repo:Q4", "repo*", False),
        ("Llama3", "llama3", False),
    ],
)
def test_patterns(name, pattern, found):
    assert matches(ModelName.parse(name), [pattern]) is found
    assert matches(ModelName.parse(name), ["nothing", pattern]) is found
    assert matches(ModelName.parse(name), [])


@pytest.mark.parametrize(
    "absent, likely",
    [
        ("llama3", ["llama3:8b", "llama3:70b"]),
        ("lama3:8b", ["llama3:8b", "llama3:70b"]),
        ("mike/llama3:8b", ["llama3:8b", "llama3:70b"]),
        ("nomic-embed", ["nomic-embed-text:latest"]),
        ("qwen", []),
    ],
)
def test_what_somebody_may_have_meant(absent, likely):
    present = [ModelName.parse(text) for text in ("llama3:8b", "llama3:70b", "nomic-embed-text", "phi4:14b")]
    assert nearest(ModelName.parse(absent), present, 2) == likely


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_363_023, "98.4 MB"),
        (4_661_224_676, "4.7 GB"),
        (5e12, "5.0 TB"),
    ],
)
def test_bytes_for_people(count, text):
    assert in_bytes(count) == text
