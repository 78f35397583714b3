# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a mirror: how messages name the server, the credentials and the objects."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SECRETS = S3Settings("b", access_key="key", secret_key="very secret", session_token="token secret")


def test_where_server_of_a_profile_is_called_by_its_address():
    assert S3Settings("b", found_url="http://s3.lab:7070").where == "http://s3.lab:7070"
    assert S3Settings("b", found_url="https://s3.us-east-2.amazonaws.com").where == "AWS S3"
    assert S3Settings("b", endpoint_url="http://a", found_url="http://a").where == "http://a"
    assert "profile lab" in S3Settings("b", profile="lab").where


def test_repr_secrets_are_not_shown():
    assert "secret" not in repr(SECRETS).replace("secret_key", "")


def test_concealed_secrets_of_settings_and_environment_are_hidden(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
    shown = SECRETS.concealed("very secret, token secret, of the environment, \x1b[2J")
    assert shown.startswith("***, ***, ***, ")
    assert shown.isprintable()


@pytest.mark.parametrize(
    "settings, says",
    [
        (S3Settings("b", access_key="a"), "access_key and secret_key"),
        (SECRETS, "access_key, secret_key and session_token"),
        (S3Settings("b", profile="lab"), "profile lab"),
        (S3Settings("b"), "AWS_* environment"),
    ],
)
def test_keys_of_source_of_the_credentials_is_named(settings, says):
    assert says in settings.keys_of


def test_asked_region_option_comes_before_the_environment(monkeypatch):
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert S3Settings("b").asked_region is None
    monkeypatch.setenv("AWS_DEFAULT_REGION", "default")
    assert S3Settings("b").asked_region == "default"
    monkeypatch.setenv("AWS_REGION", "region")
    assert S3Settings("b").asked_region == "region"
    assert S3Settings("b", region="option").asked_region == "option"


def test_url_object_is_named_by_bucket_and_key():
    assert S3Settings("b").url("a/b") == "s3://b/a/b"
