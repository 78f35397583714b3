# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two spellings of one server are one; two servers are two."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.filter.server_identity import server_identity


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:11434",
        "127.0.0.1",
        "http://LOCALHOST:11434/",
        "[::1]:11434",
        "https://127.1.2.3:11434",
        ":11434",
    ],
)
def test_names_of_loopback_are_one_server(address: str) -> None:
    assert server_identity(address) == server_identity("http://127.0.0.1:11434")


@pytest.mark.parametrize(
    "address", ["http://localhost:11435", "http://gpu:11434", "http://localhost:11434/two", "http://localhost"]
)
def test_another_port_host_or_path_is_another_server(address: str) -> None:
    assert server_identity(address) != server_identity("http://127.0.0.1:11434")


def test_other_text_stays_unchanged() -> None:
    assert server_identity("ftp://x") == "ftp://x"
