# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The settings of an S3 mirror: its address and the credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from ..._ollama.text import SHOWN, printable


@dataclass(frozen=True)
class S3Settings:
    """The address of the mirror, and the credentials for it.

    If a setting is ``None``, the SDK looks it up in its own sources: environment, profile, role of the instance.
    """

    bucket: str
    prefix: str = "ollama/models"
    endpoint_url: Optional[str] = None
    region: Optional[str] = None
    access_key: Optional[str] = None
    secret_key: Optional[str] = field(default=None, repr=False)
    session_token: Optional[str] = field(default=None, repr=False)
    profile: Optional[str] = None
    addressing_style: str = "auto"
    validate_certs: bool = True
    ca_path: Optional[str] = None
    #: The URL of the SDK's client, if ``endpoint_url`` does not give it: from a profile, or one of AWS's.
    found_url: Optional[str] = None

    @property
    def where(self) -> str:
        """The server, as messages name it."""
        if self.endpoint_url or not self.found_url:
            return self.endpoint_url or (f"the S3 server of profile {self.profile}" if self.profile else "AWS S3")
        host = urlsplit(self.found_url).hostname or ""
        return "AWS S3" if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else self.found_url

    @property
    def keys_of(self) -> str:
        """The source of the credentials, as messages name it."""
        if self.access_key:
            return "access_key, secret_key and session_token" if self.session_token else "access_key and secret_key"
        if self.profile:
            return f"the credentials of profile {self.profile}"
        return "the credentials of the AWS_* environment, of the SDK's files or of the instance's role"

    def concealed(self, text: str, limit: int = SHOWN) -> str:
        """Return a text from outside for a message: printable, truncated, and without the known secrets.

        :param limit: the most characters to keep.
        """
        variables = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        for secret in (self.secret_key, self.session_token, *(os.environ.get(name) for name in variables)):
            if secret:
                text = text.replace(secret, "***").replace(secret.strip() or secret, "***")
        return printable(text, limit)

    @property
    def asked_region(self) -> Optional[str]:
        """The region from the option or the environment; botocore knows only the second of the two variables."""
        return self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    def url(self, key: str) -> str:
        """Return the name of an object in messages."""
        return f"s3://{self.bucket}/{key}"
