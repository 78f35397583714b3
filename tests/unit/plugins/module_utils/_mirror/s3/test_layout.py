# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of a mirror: which keys belong to which models and blobs."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorSettingsError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.layout import Layout, url_path
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
def test_below_any_spelling_of_a_prefix_gives_the_same_keys(prefix, root):
    layout = Layout.below(prefix)
    name = ModelName.parse("hf.co/user/repo:Q4")
    assert layout.manifest_key(name) == f"{root}manifests/hf.co/user/repo/Q4"
    assert layout.blob_key(DIGEST) == f"{root}blobs/sha256-{'a' * 64}"
    assert layout.name_of(layout.manifest_key(name)) == name


@pytest.mark.parametrize("prefix", [".", "..", "a/../b", "a/./b", "/a/..", "models\n", "a\tb", "a\x00"])
def test_below_prefix_that_is_another_place_in_a_path_is_refused(prefix):
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
def test_name_of_other_keys_is_none(key):
    assert Layout.below("p").name_of(key) is None


@given(st.text())
def test_blob_key_no_digest_leads_out_of_the_blobs(text):
    try:
        key = Layout.below("p").blob_key(text)
    except InvalidDigestError:
        return
    assert key.startswith("p/blobs/sha256-")
    assert "/" not in key[len("p/blobs/") :]


@pytest.mark.parametrize(
    "key, may_be",
    [
        ("p/manifests/registry.ollama.ai/library/a b/latest", True),
        ("p/manifests/registry.ollama.ai%2Flibrary%2Fa%2Flatest", True),
        ("p/manifests/registry.ollama.ai/library/a b/", False),
        ("p/manifests/README", False),
        ("p/blobs/registry.ollama.ai/library/a b/latest", False),
    ],
)
def test_may_be_manifest_key_where_manifests_lie_may_be_one(key, may_be):
    assert Layout.below("p").may_be_manifest(key) is may_be


def test_url_path_key_is_quoted_as_the_sdk_does():
    assert url_path("models/some thing+ü/~blob") == "models/some%20thing%2B%C3%BC/~blob"
