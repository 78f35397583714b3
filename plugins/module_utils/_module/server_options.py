# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The client for the options of group ``server``."""

from __future__ import annotations

import math
from typing import Optional

from ansible.module_utils.basic import AnsibleModule

from .._ollama.client import OllamaClient
from .._ollama.options import InvalidOptionError
from .._ollama.transport import TlsSettings

#: The options that limit a wait.
_TIMEOUTS = ("timeout", "stall_timeout", "total_timeout")


def connect(module: AnsibleModule, *, retries: Optional[int] = None) -> OllamaClient:
    """Return a client for the server in the module's options of group ``server``.

    :param retries: number of retries that replaces the option.
    :raises InvalidOptionError: for a timeout that is not a number of seconds above 0.
    """
    params = module.params
    for name in _TIMEOUTS:
        seconds = params.get(name)
        if seconds is not None and not 0 < seconds < math.inf:
            raise InvalidOptionError(f"{name} is {seconds:g}", remedy="Give seconds, more than 0", option=name)
    return OllamaClient(
        params["host"],
        read_timeout=params["timeout"],
        retries=params["retries"] if retries is None else retries,
        headers={str(name): str(value) for name, value in (params["headers"] or {}).items()},
        tls=TlsSettings(
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"] or None,
            client_cert=params["client_cert"] or None,
            client_key=params["client_key"] or None,
        ),
    )
