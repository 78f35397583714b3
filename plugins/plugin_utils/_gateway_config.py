# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Checks of the gateway's configuration and keys on the controller, before anything on a host changes.

The schemas of the gateway's own classes describe the form. This module checks the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.patterns import NamePattern
from ansible_collections.legionio.ollama.plugins.plugin_utils._json_schema import Problem

#: The gateway's default for ``listen``.
USUAL_LISTEN = "127.0.0.1:11435"

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")


def gateway_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of a configuration with a valid form."""
    listen = config.get("listen", USUAL_LISTEN)
    match = _ADDRESS.fullmatch(listen)
    if match is None or not 0 < int(match[2]) < 65536:
        yield "listen", "must be host:port"
        return
    host = match[1].strip("[]")
    if config.get("keys_file") is None and host not in ("::1", "localhost") and not host.startswith("127."):
        yield "listen", f"is {listen}, which others reach, and there is no keys_file"


def keys_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of a file of keys with a valid form."""
    keys = config.get("keys", [])
    for place, key in enumerate(keys):
        if key.get("expires") is not None and not _is_day(key["expires"]):
            yield f"keys.{place}.expires", "must be a day, like 2030-12-31"
        for text in key.get("models", ()):
            try:
                NamePattern.parse(text)
            except CollectionError as error:
                yield f"keys.{place}.models", str(error)
    for field in ("name", "hash"):
        values = [key[field] for key in keys]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            yield "keys", f"has two keys with the {field} {twice[0]}"


def _is_day(text: str) -> bool:
    if _DAY.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
