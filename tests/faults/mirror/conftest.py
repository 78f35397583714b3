# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the mirror's fault tests: a real S3 server, and a proxy in front of it that misbehaves on demand."""

from __future__ import annotations

import dataclasses
import os

import depth
import faulty_proxy
import mirror_lab
import module_in_process
import odd_s3.server
import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from fixtures import s3
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

__all__ = ["s3"]

# How long an example takes says more about the machine than about the code. A quick run has the same examples each
# time; a deep one (TEST_DEPTH=deep, or FAULT_ROUNDS for their number) draws others at each run.
hypothesis.register_profile(
    "mirror",
    max_examples=depth.rounds(6, 400),
    derandomize=not depth.DEEP and "FAULT_ROUNDS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    print_blob=True,
)
hypothesis.load_profile("mirror")


@pytest.fixture
def settings(s3):
    """Settings for a new, empty bucket, without the proxy."""
    return mirror_lab.new_bucket(s3)


@pytest.fixture
def mirror(settings):
    return Mirror(settings)


@pytest.fixture
def proxy(settings):
    with faulty_proxy.proxy(settings.endpoint_url) as made:
        yield made


@pytest.fixture
def path(tmp_path):
    """The path of a future store."""
    return tmp_path / "models"


@pytest.fixture
def start(settings, proxy):
    """Start a module that reaches the bucket through the proxy."""

    def call(module, **arguments):
        through = dataclasses.replace(settings, endpoint_url=proxy.url)
        return mirror_lab.start_module(module, {**mirror_lab.options(through), **arguments})

    return call


@pytest.fixture
def run(start):
    """Run a module through the proxy, to its end."""
    return lambda module, **arguments: mirror_lab.finish_module(start(module, **arguments))


@pytest.fixture(scope="module")
def odd_server():
    """A scripted S3 server, in a process that is prepared for modules to run in it."""
    with module_in_process.prepared(), odd_s3.server.server() as made:
        yield made


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    with services.small_disk(tmp_path / "disk", "64m") as where:
        yield where
