# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to an S3 server: region, addressing, and settings that cannot be."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.client import check, connect
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.error_translation import translated
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import MissingDependencyError

SETTINGS = S3Settings("models")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    config.write_text("[profile there]\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


def region(**settings):
    return connect(S3Settings("b", access_key="a", secret_key="b", **settings)).meta.region_name


def test_connect_region_comes_from_the_first_source_that_has_one(bare, monkeypatch):
    assert region() == "us-east-2"
    assert region(profile="there") == "eu-west-3"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert region() == "ap-south-1"
    monkeypatch.setenv("AWS_REGION", "ap-south-2")
    assert region(profile="there") == "ap-south-2"
    assert region(region="us-west-1") == "us-west-1"


@pytest.mark.parametrize(
    "style, endpoint, url",
    [
        ("auto", "http://s3.example.com", "http://s3.example.com/models/k"),
        ("virtual", "http://s3.example.com", "http://models.s3.example.com/k"),
        ("path", None, "https://s3.us-east-2.amazonaws.com/models/k"),
        ("auto", None, "https://models.s3.us-east-2.amazonaws.com/k"),
        ("auto", "https://s3.us-east-2.amazonaws.com", "https://s3.us-east-2.amazonaws.com/models/k"),
    ],
)
def test_connect_bucket_is_addressed_as_the_settings_say(bare, style, endpoint, url):
    client = connect(
        S3Settings("models", endpoint_url=endpoint, addressing_style=style, access_key="a", secret_key="b")
    )
    asked = []

    def stop(request, **_more):
        asked.append(request.url)
        raise InterruptedError

    client.meta.events.register("before-send.s3.GetObject", stop)
    with pytest.raises(InterruptedError):
        client.get_object(Bucket="models", Key="k")
    assert asked == [url]


@pytest.mark.parametrize(
    "endpoint", ["s3.example.com", "ftp://s3.example.com", "https://", "http://key:secret@host", "http://host:x", ""]
)
def test_connect_endpoint_that_is_no_url_is_refused(bare, endpoint):
    with pytest.raises(errors.MirrorSettingsError) as caught:
        connect(S3Settings("b", endpoint_url=endpoint))
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["access_key", "secret_key", "session_token", "region", "bucket", "endpoint_url", "profile"]
)
@pytest.mark.parametrize("value", ["http://very-secret\n", " http://very-secret", "http://very-\x00secret"])
def test_check_setting_no_request_can_carry_is_named_without_its_value(bare, name, value):
    settings = {"bucket": "b", name: value}
    with pytest.raises(errors.MirrorSettingsError, match=f"^{name} ") as caught:
        check(S3Settings(**settings))
    assert "very-" not in str(caught.value)


def test_connect_bucket_name_that_cannot_be_is_a_wrong_setting(bare):
    client = connect(S3Settings("b", access_key="a", secret_key="b"))
    with pytest.raises(errors.MirrorSettingsError), translated(SETTINGS, "read"):
        client.get_object(Bucket="no bucket/at all", Key="k")


def test_connect_without_the_sdk_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    with pytest.raises(MissingDependencyError, match="boto3"):
        connect(S3Settings("b"))


def test_check_certificate_authority_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(errors.MirrorSettingsError, match="does not exist") as caught:
        check(S3Settings("b", ca_path=str(tmp_path / "ca.pem")))
    assert caught.value.details["path"] == str(tmp_path / "ca.pem")
    check(S3Settings("b", ca_path=str(tmp_path / "ca.pem"), validate_certs=False))


def test_check_without_the_sdk_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setattr(
        "ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.client.find_spec", lambda name: None
    )
    with pytest.raises(MissingDependencyError, match="boto3"):
        check(S3Settings("b"))
