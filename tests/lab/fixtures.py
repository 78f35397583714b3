# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest fixtures over the real parts of services.py. A conftest.py imports the names its tests use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_servers
import services
from depth import choose_versions


def leave_in_order() -> None:
    """Let SIGTERM end a test run as Ctrl-C does: fixtures are torn down, logs kept."""
    # Not by SystemExit, which pytest takes for the failure of one test.
    signal.signal(signal.SIGTERM, lambda _number, _frame: pytest.exit("ended by SIGTERM", returncode=143))


@pytest.fixture(scope="session")
def model_store() -> Path:
    """The read-only store with `smollm2:135m` and `all-minilm:latest`."""
    return services.model_store()


@pytest.fixture(scope="session")
def ollama(model_store: Path) -> Iterator[services.OllamaServer]:
    """One Ollama for the whole run, over the read-only store. Not to be stopped: start another for that."""
    with services.ollama_server(model_store) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[services.S3Server | s3_servers.Family]:
    """One S3 server for the whole run, of the family that S3_SERVER names; make a bucket of your own in it."""
    with s3_servers.started(os.environ.get("S3_SERVER", "versitygw")) as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on the newest broker; one marked `every_version`, and in a deep run every one, on each series."""
    choose_versions(metafunc, "broker")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[services.Broker]:
    """A broker for the whole run, of the series that the test is to run on. To stop one, use `fresh_broker`."""
    with services.rabbitmq(request.param.removeprefix("rabbitmq")) as running:
        yield running


@pytest.fixture
def fresh_broker() -> Iterator[services.Broker]:
    """A broker for one test alone, which may stop, kill and start it."""
    with services.rabbitmq("4") as running:
        yield running
