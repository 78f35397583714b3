# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import InvalidServerError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.hosts import parse_host, secrets_in


# What Ollama v0.32.5 makes of these values (envconfig/config.go, Host and ConnectableHost), with an empty host, which
# Go dials as this machine, written out.
@pytest.mark.parametrize(
    "text, url",
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        ("example.com:", "http://example.com:11434"),
        (":66000", "http://127.0.0.1:11434"),
        (":-1", "http://127.0.0.1:11434"),
        ("example.com:http", "http://example.com:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        ("2001:DB8::1", "http://[2001:db8::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("[::]", "http://[::1]:11434"),
        ("[::]:80", "http://[::1]:80"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:11434"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        ("'1.2.3.4:99'", "http://1.2.3.4:99"),
        (" ' 1.2.3.4 ' ", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("HTTPS://example.com", "https://example.com:443"),
        ("https://example.com:x", "https://example.com:443"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("https://example.com:56789/a/b/", "https://example.com:56789/a/b"),
        ("example.com/ollama", "http://example.com:11434/ollama"),
        ("http://:8080/", "http://127.0.0.1:8080"),
        ("ollama.com", "https://ollama.com:443"),
        ("gpu_01.local", "http://gpu_01.local:11434"),
    ],
)
def test_every_form_of_the_official_client(text: str, url: str) -> None:
    assert parse_host(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.com",
        "http://a b",
        "1:2:3",
        "::1::2",
        "exa?mple",
        "host/path with spaces",
        "[example.com",
        "http://[1.2.3",
        "a@b@c:d:e",
    ],
)
def test_parse_host_of_another_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidServerError, match="not the address of an Ollama server"):
        parse_host(text)


def test_the_environment_is_asked_when_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "'https://gpu-01'")
    assert parse_host().url == "https://gpu-01:443"
    monkeypatch.delenv("OLLAMA_HOST")
    assert parse_host().url == "http://127.0.0.1:11434"


def test_credentials_become_a_header_and_are_shown_nowhere() -> None:
    address = parse_host("https://me:s%40cret@example.com/x")
    assert address.url == "https://example.com:443/x"
    assert address.authorization == "Basic " + base64.b64encode(b"me:s@cret").decode()
    assert "cret" not in repr(address)


def test_a_refused_address_does_not_repeat_its_credentials() -> None:
    with pytest.raises(InvalidServerError) as caught:
        parse_host("https://me:secret@exa mple")
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.details)


@pytest.mark.parametrize(
    "text, loopback",
    [("", True), ("localhost", True), ("127.9.9.9", True), ("[::1]:5", True), ("10.0.0.1", False), ("gpu", False)],
)
def test_loopback(text: str, loopback: bool) -> None:
    assert parse_host(text).is_loopback is loopback


@pytest.mark.parametrize(
    "text, secrets",
    [
        ("https://me:s%40cret@gpu", {"s%40cret", "s@cret"}),
        ("me:secret@gpu:11434", {"secret"}),
        ("https://me:pa/ss@gpu mistyped", {"pa/ss"}),
        ("https://me@gpu", set()),
        ("gpu:11434", set()),
        ("http://[::1]:11434/a@b", set()),
    ],
)
def test_the_password_of_an_address_is_found_also_in_an_invalid_one(text: str, secrets: set[str]) -> None:
    assert secrets_in(text) == secrets
