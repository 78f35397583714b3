# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import (
    blob_file_name,
    digest_of,
    parse_digest,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import (
    InvalidDigestError,
)

HEX = hashlib.sha256(b"").hexdigest()


def test_both_spellings_of_ollama_are_the_same_digest() -> None:
    assert parse_digest(f"sha256-{HEX}") == parse_digest(f"sha256:{HEX}") == digest_of(b"") == f"sha256:{HEX}"
    assert blob_file_name(f"sha256:{HEX}") == f"sha256-{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX}0",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}\n",
        f"sha256/{HEX}",
        "sha256:../" + "a" * 61,
        None,
        1,
    ]
    + [f"SHA256:{HEX}", f"md5:{HEX}"],
)
def test_anything_else_never_becomes_a_file_name(text: object) -> None:
    with pytest.raises(InvalidDigestError) as caught:
        blob_file_name(text)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_digest"


def test_a_hostile_digest_does_not_flood_the_message() -> None:
    with pytest.raises(InvalidDigestError) as caught:
        parse_digest("x" * 100_000)
    assert len(str(caught.value)) < 300
