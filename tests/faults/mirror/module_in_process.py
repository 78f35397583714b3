# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of modules inside the test process: hundreds of runs take as long as one process start."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import botocore.loaders
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import multipart_upload
from ansible_collections.legionio.ollama.plugins.module_utils._module import s3_options
from module_run import Run, run_module

#: Both ways in which a mirror is read. Any other variable of the SDK's than a few has everything go through the SDK.
WAYS = {"direct": {}, "sdk": {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"}}

#: Bytes of a part of an upload, so that a small blob has some.
PART_SIZE = 8 * 1024


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Prepare the process for runs: without pauses, without settings of this machine, with small upload parts."""
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
        patch.setattr(s3_options, "CHUNK_SIZES", (PART_SIZE, s3_options.CHUNK_SIZES[1]))
        # The SDK reads megabytes of JSON for each client.
        load = functools.lru_cache(maxsize=None)(botocore.loaders.JSONFileLoader().load_file)
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", lambda _self, path: load(path))
        services = functools.lru_cache(maxsize=None)(botocore.loaders.create_loader().list_available_services)
        patch.setattr(botocore.loaders.Loader, "list_available_services", lambda _self, kind: services(kind))
        yield


def run(module: str, arguments: dict[str, Any], way: str = "direct", *, check: bool = False) -> Run:
    """Run a module to its end.

    :param way: one of :data:`WAYS`.
    :param check: in check mode.
    """
    return run_module(module, arguments, check=check, environment=WAYS[way])
