# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The run of a module, from its options to its result or failure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._ollama.errors import CollectionError
from .._ollama.exhaustion import exhausted
from .._ollama.hosts import secrets_in
from .argspec import ArgumentSpec

Work = Callable[[AnsibleModule], dict[str, Any]]


#: Options that are addresses, with a scheme or without.
_ADDRESSES = ("host", "endpoint_url", "endpoint", "broker_host", "broker_url")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class Module(AnsibleModule):  # type: ignore[misc]
    """A module that hides the passwords of URLs in its result, in a failure, and in the journal of the host."""

    def _log_invocation(self) -> None:
        self.hide_passwords()
        super()._log_invocation()

    def fail_json(self, msg: str, **others: Any) -> None:
        self.hide_passwords()
        super().fail_json(msg, **others)

    def hide_passwords(self) -> None:
        """Make Ansible replace the passwords of all addresses and URLs among the parameters."""
        for name, text in _texts("", self.params):
            if name in _ADDRESSES or _URL.fullmatch(text):
                self.no_log_values.update(secrets_in(text))


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text in a value, with the name of the option that it belongs to."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(str(key), one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(name, one)


def run(spec: ArgumentSpec, work: Work, *, supports_check_mode: bool = True) -> None:
    """Build the module, do its work, and exit with its result.

    :param work: takes the module, and returns the arguments of ``exit_json``. It raises :class:`CollectionError` for
        every failure that a user can meet. Any other exception is a defect of the collection, and the message says so.
    """
    module = Module(supports_check_mode=supports_check_mode, **spec.to_kwargs())
    module.hide_passwords()
    try:
        result = work(module)
    except CollectionError as error:
        module.fail_json(**failure(error))
    except Exception as error:  # noqa: BLE001 - the last resort: a task must not end with a traceback
        limit = exhausted(error)
        if limit is not None:
            module.fail_json(**failure(limit))
        module.fail_json(
            msg=f"The module met an unexpected error: {type(error).__name__}: {error}. "
            "Please report it with the output of the task run with -vvv. [unexpected]",
            error_code="unexpected",
            exception=traceback.format_exc(),
        )
    module.exit_json(**result)


def failure(error: CollectionError) -> dict[str, Any]:
    """Return the arguments of ``fail_json`` for a typed error. Call this in the error's ``except`` block.

    The results before the failure come first, so that the error's details override them.
    """
    return {
        "changed": False,
        **(error.result or {}),
        **error.details,
        # The code ends the message: a search for it finds the page of errors.
        "msg": f"{error} [{error.code}]",
        "error_code": error.code,
        "exception": traceback.format_exc(),
    }
