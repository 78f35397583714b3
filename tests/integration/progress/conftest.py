# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests of live progress: playbooks, slow servers, and the ways to a host."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import faulty_proxy
import mirror_lab
import playing
import pytest
import services
import sshd
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from depth import choose_versions


@pytest.fixture
def settings(s3: Any) -> S3Settings:
    """Settings for a new, empty bucket."""
    return mirror_lab.new_bucket(s3)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach and write, since a task may run as any user."""
    with services.scratch("progress") as folder:
        folder.chmod(0o1777)
        yield folder


@pytest.fixture
def spool(folder: Path) -> Path:
    """The folder for temporary files of the hosts, which must be empty at the end."""
    spool = folder / "spool"
    spool.mkdir()
    spool.chmod(0o1777)
    return spool


@pytest.fixture(scope="session")
def ssh() -> Iterator[sshd.SshServer]:
    with services.scratch("sshd") as folder, sshd.ssh_server(folder) as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_versions(metafunc, "core", ("oldest", "newest") if playing.newest_python() else ("oldest",))


@pytest.fixture(scope="session")
def core(request: pytest.FixtureRequest) -> Path:
    """The test's version of Ansible; the newest needs a recent Python."""
    return Path(sys.prefix) if request.param == "oldest" else playing.newest_core()


@pytest.fixture
def play(folder: Path, spool: Path) -> Iterator[Callable[..., playing.Play]]:
    """Start a playbook on hosts of this machine, and end it after the test."""
    plays: list[playing.Play] = []

    def start(
        tasks: Any,
        *flags: str,
        hosts: Any = None,
        core: Path = Path(sys.prefix),
        env: Any = None,
        **keywords: Any,
    ) -> playing.Play:
        common = {"ansible_python_interpreter": sys.executable, "ansible_system_tmpdirs": [str(spool)]}
        hosts = hosts or {"node": {"ansible_connection": "local"}}
        hosts = {name: {**common, **variables} for name, variables in hosts.items()}
        environment = mirror_lab.environment(**(env or {}))
        plays.append(
            playing.start(
                folder / f"play-{len(plays)}", tasks, hosts, *flags, core=core, env=environment, keywords=keywords
            )
        )
        return plays[-1]

    yield start
    for started in plays:
        if started.process.poll() is None:
            started.process.kill()
            started.wait()


@pytest.fixture
def slow(settings: Any) -> Iterator[faulty_proxy.Proxy]:
    """The S3 server behind a slow line: ranges arrive at 700 kB/s, each uploaded part takes two seconds."""

    def rule(request: faulty_proxy.Request) -> Any:
        if request.method == "GET" and request.range:
            return faulty_proxy.Fault(rate=700_000.0)
        if request.method == "PUT":
            return faulty_proxy.Fault(before=lambda: time.sleep(2))
        return None

    with faulty_proxy.proxy(settings.endpoint_url) as proxy:
        proxy.rule = rule
        yield proxy
