# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of a module inside the test process, with the result of a task, but without Ansible."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError


@dataclass
class Run:
    """The outcome of a run.

    :ivar error: the exception that made the run fail.
    """

    result: dict[str, Any]
    error: BaseException | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def typed(self) -> bool:
        return isinstance(self.error, CollectionError)


class _End(BaseException):
    """Raised in place of the end of the module's process."""


def run_module(
    module: str, arguments: Mapping[str, Any], *, check: bool = False, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a module to its end.

    :param check: in check mode.
    :param environment: variables of the run alone.
    """
    main = importlib.import_module(f"ansible_collections.legionio.ollama.plugins.modules.{module}").main
    outcome = Run({})

    def end(_module: Any, **result: Any) -> None:
        outcome.result = {"changed": False, **result}
        outcome.error = sys.exc_info()[1]
        raise _End

    def fail(_module: Any, msg: str, **result: Any) -> None:
        end(_module, msg=msg, failed=True, **result)

    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", fail)
        patch.setattr(basic.AnsibleModule, "warn", lambda _module, text: outcome.warnings.append(text))
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        with contextlib.suppress(_End):
            main()
    return outcome
