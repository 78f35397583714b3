# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep a test run goes: quick (`make test`) or deep (`make test-deep`, which sets TEST_DEPTH=deep).

A quick run keeps every proof once. A deep run repeats the proofs on every supported version of a server, and the
random ones in many more rounds.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

DEEP = os.environ.get("TEST_DEPTH", "quick") == "deep"

VERSIONS: dict[str, tuple[str, ...]] = {
    "broker": ("rabbitmq4", "rabbitmq3"),
    "server": ("ollama", "ollama-oldest", "ollama-newest"),
    "any_server": ("ollama", "ollama-oldest", "ollama-newest"),
}
"""Fixtures with one value for each supported version of a server, or of Ansible; quick runs take the first."""

MARKER = "every_version"
"""The marker of a test whose outcome depends on the version: quick runs take all versions, too."""


def rounds(quick: int, deep: int) -> int:
    """Return the number of rounds of a random fault: FAULT_ROUNDS if that is set, else what the depth says."""
    return int(os.environ.get("FAULT_ROUNDS") or (deep if DEEP else quick))


def choose_versions(metafunc: pytest.Metafunc, name: str, versions: tuple[str, ...] = ()) -> None:
    """Parametrize a test with the versions of a fixture.

    :param name: of the fixture, which gets a version as ``request.param``.
    :param versions: the supported ones, when they are not those of VERSIONS.
    """
    if name not in metafunc.fixturenames:
        return
    chosen: Any = versions or VERSIONS[name]
    if not DEEP and metafunc.definition.get_closest_marker(MARKER) is None:
        chosen = chosen[:1]
    metafunc.parametrize(name, chosen, ids=chosen, indirect=True, scope="session")
