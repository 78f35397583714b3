# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import InvalidServerError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.header_fields import check_header


@pytest.mark.parametrize("value", ["", "x", "Bearer a b\tc", "caf\u00e9"])
def test_check_header_that_can_be_sent_passes(value: str) -> None:
    check_header("X-Token", value)


@pytest.mark.parametrize("value", ["5 \u20ac", "a\r\nX-B: b", "a\nb", "a\0", " a", "a ", "a\x7f", "\ud800"])
def test_check_header_with_a_value_that_cannot_be_sent_names_the_header(value: str) -> None:
    with pytest.raises(InvalidServerError, match="X-Token"):
        check_header("X-Token", value)


def test_check_header_that_is_refused_does_not_show_a_secret() -> None:
    with pytest.raises(InvalidServerError) as caught:
        check_header("X-Token", "secret\n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "X Token", "X-Token:", "X-\u20ac", "a\nb"])
def test_check_header_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidServerError, match="valid header name"):
        check_header(name, "x")


def test_client_with_a_header_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(InvalidServerError, match="X-Token"):
        OllamaClient("127.0.0.1:1", headers={"X-Token": "\u20ac"})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_check_header_that_says_how_long_the_request_is_is_refused(name: str) -> None:
    with pytest.raises(InvalidServerError, match="computes the length"):
        check_header(name, "0")
