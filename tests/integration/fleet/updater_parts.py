# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts for tests of broadcasts: `fleet-worker updates` as a process, and its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fleet_parts import SOURCES, eventually


class Updater:
    """A `fleet-worker updates` process."""

    def __init__(self, directory: Path, configuration: dict[str, Any], secrets: dict[str, str]) -> None:
        directory.mkdir()
        self.store = Path(configuration["models_path"])
        for name, secret in secrets.items():
            (directory / name).write_text(secret)
        config = directory / "fleet-updates.yml"
        config.write_text(yaml.safe_dump(configuration))
        self.log_path = directory / "log"
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "CREDENTIALS_DIRECTORY": str(directory)}
        command = [sys.executable, "-m", "fleet_worker", "updates", "--config", str(config)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="backslashreplace")

    def wait_log(self, text: str, within: float = 60.0) -> Updater:
        eventually(lambda: text in self.log, text, within)
        return self

    def close(self, *, show_log: bool = True) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        if show_log:
            print(self.log)


def updates_configuration(
    broker: Any, mirror: Any, models_path: Path, **others: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration of the updates of a node, and its secrets by the names of their files.

    :param mirror: the settings of an S3 mirror.
    """
    configuration = {
        "broker": {"addresses": [f"{broker.host}:{broker.port}"], "username": broker.username},
        "mirror": {
            "bucket": mirror.bucket,
            "endpoint_url": mirror.endpoint_url,
            "region": mirror.region,
            "access_key_credential": "s3-access-key",
            "secret_key_credential": "s3-secret-key",
        },
        "models_path": str(models_path),
        "models": ["smollm2*", "all-minilm"],
        **others,
    }
    secrets = {
        "broker-password": broker.password,
        "s3-access-key": mirror.access_key or "",
        "s3-secret-key": mirror.secret_key or "",
    }
    return configuration, secrets


class Signer:
    """A key of the fleet's operators, in a file, and the configuration of nodes that know it."""

    def __init__(self, directory: Path, name: str = "signing") -> None:
        directory.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        self.broadcasts = {"keys": [public], "record": str(directory / "broadcasts.json")}
