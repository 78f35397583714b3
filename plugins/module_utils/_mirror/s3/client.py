# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The connection to an S3 server: botocore's client.

boto3 adds resources and a transfer manager to botocore. Nothing here uses them, and a run in which nothing changes is
noticeably shorter if they are not loaded.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Optional
from urllib.parse import urlsplit

from ..._ollama.errors import MissingDependencyError
from ..errors import MirrorSettingsError
from ..retry import SDK_RETRIES
from .error_translation import translated
from .settings import S3Settings

#: The region of a bucket if no source names one: the default of lex-ollama's S3 client.
DEFAULT_REGION = "us-east-2"

#: The longest time in seconds to open a connection, and the longest silence on an open one.
CONNECT_TIMEOUT = 10
READ_TIMEOUT = 60


def connect(settings: S3Settings, *, connections: int = 10) -> Any:
    """Return an S3 client; nothing is sent yet.

    :param connections: the number of requests that run at the same time, at most.
    :raises MissingDependencyError: if boto3 is not installed.
    :raises MirrorSettingsError: if a setting is invalid.
    """
    check(settings)
    try:
        import botocore.config
        import botocore.session
    except ImportError as error:
        raise _missing() from error
    from .answers import AnswerGuard  # only requests of the SDK need it

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "retries": SDK_RETRIES,
        "max_pool_connections": connections,
        "s3": {"addressing_style": _addressing_style(settings)},
    }
    # Since 1.36 the SDK adds checksums that older MinIO, Ceph and others refuse; older SDKs do not know the options.
    # Every transfer is verified by SHA-256 anyway.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if name in botocore.config.Config.OPTION_DEFAULTS:
            options[name] = "when_required"
    with translated(settings, f"set up the connection to {settings.where}"):
        session = botocore.session.Session(profile=settings.profile)
        client = session.create_client(
            "s3",
            region_name=settings.asked_region or session.get_config_variable("region") or DEFAULT_REGION,
            endpoint_url=settings.endpoint_url,
            verify=(settings.ca_path or None) if settings.validate_certs else False,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            aws_session_token=settings.session_token,
            config=botocore.config.Config(**options),
        )
    AnswerGuard(client)
    return client


def _addressing_style(settings: S3Settings) -> str:
    # By default, botocore puts the bucket into the path of a custom endpoint, unless it considers the endpoint AWS's.
    if settings.addressing_style == "auto" and settings.endpoint_url:
        return "path"
    return settings.addressing_style


#: Settings that are sent, or from which the SDK builds a request.
_WRITTEN_INTO_REQUESTS = ("access_key", "secret_key", "session_token", "region", "bucket", "endpoint_url", "profile")


def _must_be_sendable(name: str, value: Optional[str]) -> None:
    """Refuse a setting that no request can carry. The message does not show its value, which may be a secret.

    :raises MirrorSettingsError: for a value with a character that a file or a lookup adds, such as a line feed.
    """
    if not value:
        return
    if value != value.strip():
        what = "ends in a line feed" if value.endswith(("\n", "\r")) else "begins or ends with a blank"
    elif not value.isprintable() or not (value.isascii() or name == "profile"):
        what = "has a character that no request can carry"
    else:
        return
    raise MirrorSettingsError(
        f"{name} {what}", remedy=f"Correct {name}; a value from a file or a lookup needs the filter trim"
    )


def _missing() -> MissingDependencyError:
    return MissingDependencyError("boto3", "talk to the S3 mirror")


def check(settings: S3Settings) -> None:
    """Check that the SDK is installed and that the settings are valid, without a request.

    :raises MissingDependencyError: if boto3 is not installed.
    :raises MirrorSettingsError: if a setting is invalid.
    """
    if find_spec("botocore") is None:
        raise _missing()
    for name in _WRITTEN_INTO_REQUESTS:
        _must_be_sendable(name, getattr(settings, name))
    if settings.ca_path and settings.validate_certs and not os.path.exists(settings.ca_path):
        raise MirrorSettingsError(
            f"s3_ca_path names {settings.ca_path}, which does not exist",
            remedy="Put the certificate authority's certificate there, or correct the path",
            path=settings.ca_path,
        )
    if settings.endpoint_url is None:
        return
    try:
        url = urlsplit(settings.endpoint_url)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.username is None and not url.query
        good = good and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good:
        raise MirrorSettingsError(
            "endpoint_url is not the URL of an S3 server",
            remedy="Write it as https://host or https://host:port; credentials go to access_key and secret_key",
        )
