# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.dsse import signed_bytes


def test_signed_bytes_of_the_example_in_the_specification() -> None:
    assert signed_bytes("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_signed_bytes_count_bytes_and_keep_each_of_them() -> None:
    assert signed_bytes("ä", b"\x00 %d") == b"DSSEv1 2 \xc3\xa4 4 \x00 %d"
