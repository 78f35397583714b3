# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A podman container as a host of a playbook: the lab's Debian 12 with its own Python, and the oldest S3 SDK."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import services

TESTS = Path(__file__).resolve().parents[2]
SPOOL = "/var/tmp"


@dataclass
class Container:
    """A container that a playbook can work in."""

    name: str
    collections: Path
    """Where Ansible finds the connection to it."""

    @property
    def variables(self) -> dict[str, object]:
        """The inventory variables of the container."""
        return {
            "ansible_connection": "containers.podman.podman",
            "ansible_host": self.name,
            "ansible_python_interpreter": "/usr/bin/python3",
            # The connection puts files past the container's volumes.
            "ansible_system_tmpdirs": [SPOOL],
        }

    def spool(self) -> list[str]:
        """The contents of the container's folder for temporary files."""
        listing = [*services.podman(), "exec", self.name, "ls", SPOOL]
        return subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.split()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that Ansible needs to reach the container."""
        path = f"{os.environ['ANSIBLE_COLLECTIONS_PATH']}:{self.collections / 'ansible_collections'}"
        return {**services.podman_environment(), "ANSIBLE_COLLECTIONS_PATH": path}


@contextlib.contextmanager
def container(folder: Path) -> Iterator[Container]:
    """A running container on the network of this machine.

    :param folder: is in the container under the same path.
    """
    venv = [TESTS / "tools/venv.sh", TESTS / "requirements-oldest-sdk.txt"]
    sdk = subprocess.run(venv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    (libraries,) = Path(sdk).glob("lib/python3*/site-packages")
    volumes = ("--volume", f"{libraries}:/sdk:ro", "--volume", f"{folder}:{folder}")
    with services.container(
        "progress", "node-bookworm", "--network", "host", "--env", "PYTHONPATH=/sdk", *volumes
    ) as name:
        yield Container(name, services.part("podman-connection"))
