# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run inside the test's own process: hundreds of runs cost what one process start does."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import botocore.loaders
import pytest
from ansible.module_utils import basic
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import multipart_upload
from ansible_collections.legionio.ollama.plugins.module_utils._module import mirror_work
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError

#: Both ways in which a mirror is read. Any other variable of the SDK's than a few has everything go through the SDK.
WAYS = {"direct": {}, "sdk": {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"}}

#: Bytes of a part of an upload, so that a small blob has some.
PART_SIZE = 8 * 1024


@dataclass
class Run:
    """What came of a run.

    :ivar error: what was raised, if the run failed by it.
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
    """The module would end its process here."""


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Prepare the process for runs: no pause lasts, no setting of this machine counts, uploads come in small parts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "OLLAMA_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setattr(time, "sleep", lambda seconds: None)
        patch.setattr(random, "uniform", lambda least, most: least)
        patch.setattr(multipart_upload, "PART_SIZE", PART_SIZE)
        patch.setattr(mirror_work, "CHUNK_SIZES", (PART_SIZE, mirror_work.CHUNK_SIZES[1]))
        # The SDK reads megabytes of JSON for each client.
        load = functools.lru_cache(maxsize=None)(botocore.loaders.JSONFileLoader().load_file)
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", lambda _self, path: load(path))
        services = functools.lru_cache(maxsize=None)(botocore.loaders.create_loader().list_available_services)
        patch.setattr(botocore.loaders.Loader, "list_available_services", lambda _self, kind: services(kind))
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        yield


def run(module: str, arguments: dict[str, Any], way: str = "direct", *, check: bool = False) -> Run:
    """Run a module to its end.

    :param way: one of :data:`WAYS`.
    :param check: in check mode.
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
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", fail)
        patch.setattr(basic.AnsibleModule, "warn", lambda _module, text: outcome.warnings.append(text))
        for name, value in WAYS[way].items():
            patch.setenv(name, value)
        with contextlib.suppress(_End):
            main()
    return outcome
