# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook of this folder in an execution environment, against a real S3 server, Ollama and RabbitMQ.

usage: PYTHONPATH=tests/lab python tests/execution-environment/run.py IMAGE
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import abandoned
import boto3
import services
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).resolve().parent
MODEL = "all-minilm:latest"


class Environment:
    """An execution environment, with a folder of the lab at /lab."""

    def __init__(self, image: str, lab: Path) -> None:
        self._image = image
        self._lab = lab

    def run(self, *command: str) -> str:
        """Run a command to its end in a container of its own, print its output and return it.

        :raises subprocess.CalledProcessError: if the command fails.
        """
        print("$", " ".join(command), flush=True)
        volumes = [
            f"--volume={self._lab}:/lab",
            f"--volume={services.model_store()}:/lab/store:ro",
            f"--volume={HERE}:/runner/project:ro",
        ]
        # The network of this machine, for servers on loopback addresses.
        label = f"--label={abandoned.LABEL}={abandoned.owner()}"
        options = ["--rm", label, "--network=host", "--pull=never", "--workdir=/runner/project", *volumes]
        started = [*services.podman(), "run", *options, self._image, *command]
        ended = subprocess.run(started, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(ended.stdout, flush=True)
        ended.check_returncode()
        return ended.stdout


def write_keys(directory: Path) -> None:
    """Write a private key, key.pem, and its public key, key.pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "key.pem").write_bytes(private)
    (directory / "key.pub").write_bytes(public)


def changed(printed: str) -> int:
    """Return the number of changes in the recap of a playbook's run."""
    found = re.search(r"changed=(\d+) .*failed=0", printed)
    if found is None:
        raise ValueError("the playbook printed no recap")
    return int(found[1])


def main() -> int:
    with services.scratch("environment") as lab, services.s3_server() as s3, services.rabbitmq() as broker:
        imported = lab / "imported"
        for directory in (lab, lab / "store", imported, imported / "blobs", imported / "manifests"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o777)  # neither this process nor Ollama runs as the environment's user
        write_keys(lab)
        with services.ollama_server(imported, {"OLLAMA_NOPRUNE": "1"}) as ollama:
            keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
            boto3.client("s3", endpoint_url=s3.endpoint_url, region_name=s3.region, **keys).create_bucket(
                Bucket="models"
            )
            variables = {
                "model": MODEL,
                "s3_url": s3.endpoint_url,
                "s3_region": s3.region,
                "s3_access_key": s3.access_key,
                "s3_secret_key": s3.secret_key,
                "ollama_url": ollama.url,
                "broker_url": broker.amqp_url,
            }
            (lab / "variables.json").write_text(json.dumps(variables))

            environment = Environment(sys.argv[1], lab)
            environment.run("ansible-galaxy", "collection", "list")
            environment.run("ansible-doc", "legionio.ollama.ollama_s3_import")
            playbook = ("ansible-playbook", "-e", "@/lab/variables.json", "playbook.yml")
            changes = [changed(environment.run(*playbook)) for _round in range(2)]
    print(f"changes of the first run: {changes[0]}, of the second: {changes[1]}")
    if changes != [2, 0]:
        print("error: the first run must publish and import, and the second must change nothing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
