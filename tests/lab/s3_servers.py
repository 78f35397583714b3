# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 servers other than VersityGW, for the tests of the mirror: `make integration-s3`.

Each is a process on loopback ports, over an empty directory, with one key that may do everything.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Union

import services


class Family(services.Server):
    """One server of a family.

    Its class attributes are what :class:`services.S3Server` has too.
    """

    access_key = "lab-access"
    secret_key = "lab-secret-key"
    region = "us-east-1"

    #: In what it differs on purpose: parts of the ids of tests that must fail over it, and why.
    differences: ClassVar[dict[str, str]] = {}

    def __init__(self, directory: Path, port: int, command: list[str], env: dict[str, str], probe: str) -> None:
        self.endpoint_url = f"http://127.0.0.1:{port}"
        name = type(self).__name__
        log = directory / f"{name.lower()}.log"
        super().__init__(name, command, {**os.environ, **env}, self.endpoint_url + probe, log)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._probe, timeout=5):
                return True
        except urllib.error.HTTPError as refused:  # by S3 itself, as nothing was signed
            return refused.code < 500
        except OSError:
            return False


class MinIO(Family):
    """MinIO over one directory."""

    def __init__(self, directory: Path) -> None:
        port, console = services.free_port(), services.free_port()
        addresses = ("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}")
        super().__init__(
            directory,
            port,
            [str(services.part("minio") / "bin" / "minio"), "server", "--quiet", *addresses, str(directory / "data")],
            {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key, "MINIO_BROWSER": "off"},
            "/minio/health/live",
        )


class Moto(Family):
    """moto's server, which keeps everything in memory."""

    differences: ClassVar[dict[str, str]] = dict.fromkeys(
        ("changes0-mirror_credentials", "changes1-mirror_credentials", "MirrorCredentialsError", "current_credentials"),
        "moto believes every key",
    )

    def __init__(self, directory: Path) -> None:
        port = services.free_port()
        tool = str(Path(sys.executable).parent / "moto_server")
        super().__init__(directory, port, [tool, "-H", "127.0.0.1", "-p", str(port)], {}, "/moto-api/")


class S3Proxy(Family):
    """S3Proxy over a directory."""

    differences: ClassVar[dict[str, str]] = dict.fromkeys(
        ("test_plain_reads_return_the_same_as_the_sdk", "test_plain_listing_of_many_pages_is_complete"),
        "S3Proxy sends listings in chunks, which are read through the SDK",
    )

    def __init__(self, directory: Path) -> None:
        port = services.free_port()
        (directory / "data").mkdir()
        (directory / "quiet.xml").write_text("<configuration/>")
        (directory / "s3proxy.conf").write_text(
            "s3proxy.authorization=aws-v2-or-v4\n"
            f"s3proxy.endpoint=http://127.0.0.1:{port}\n"
            f"s3proxy.identity={self.access_key}\n"
            f"s3proxy.credential={self.secret_key}\n"
            "jclouds.provider=filesystem-nio2\n"
            f"jclouds.filesystem.basedir={directory / 'data'}\n"
            "jclouds.identity=none\njclouds.credential=none\n"
        )
        super().__init__(
            directory,
            port,
            [
                *("java", "-cp", f"{services.part('s3proxy')}/lib/*"),
                *(f"-Dlogback.configurationFile={directory / 'quiet.xml'}", "org.gaul.s3proxy.Main"),
                *("--properties", str(directory / "s3proxy.conf")),
            ],
            {},
            "/",
        )


class Garage(Family):
    """Garage with one node, over a directory."""

    differences: ClassVar[dict[str, str]] = dict.fromkeys(
        ("changes0-mirror_credentials", "changes1-mirror_credentials", "MirrorCredentialsError", "current_credentials"),
        "Garage says AccessDenied of a wrong key, too, so that the remedy names the permissions",
    )

    # Garage takes keys of this form only.
    access_key = "GK" + "1ab0acce55ed" * 2
    secret_key = "1ab5ec2e" * 8

    def __init__(self, directory: Path) -> None:
        port, rpc = services.free_port(), services.free_port()
        self._configuration = directory / "garage.toml"
        self._configuration.write_text(
            f'metadata_dir = "{directory}/meta"\ndata_dir = "{directory}/data"\ndb_engine = "sqlite"\n'
            f'replication_factor = 1\nrpc_secret = "{"5e" * 32}"\nrpc_bind_addr = "127.0.0.1:{rpc}"\n'
            f'[s3_api]\ns3_region = "{self.region}"\napi_bind_addr = "127.0.0.1:{port}"\n'
        )
        self._tool = [str(services.part("garage") / "bin" / "garage"), "-c", str(self._configuration)]
        super().__init__(directory, port, [*self._tool, "server"], {"RUST_LOG": "warn"}, "/")

    def start(self) -> None:
        """Start it, give its node all of the data, and let the key make buckets."""
        super().start()
        node = self._told("node", "id", "--quiet").partition("@")[0].strip()
        self._told("layout", "assign", "--zone", "lab", "--capacity", "1G", node)
        self._told("layout", "apply", "--version", "1")
        self._told("key", "import", "--yes", self.access_key, self.secret_key)
        self._told("key", "allow", "--create-bucket", self.access_key)

    def _told(self, *words: str) -> str:
        return subprocess.run([*self._tool, *words], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


FAMILIES: dict[str, type[Family]] = {
    "garage": Garage,
    "minio": MinIO,
    "moto": Moto,
    "s3proxy": S3Proxy,
}


@contextlib.contextmanager
def started(family: str) -> Iterator[Union[Family, services.S3Server]]:
    """An empty S3 server of a family on a free loopback port."""
    if family == "versitygw":
        with services.s3_server() as versity:
            yield versity
        return
    if family not in FAMILIES:
        raise ValueError(f"no S3 server is called {family!r}; there are versitygw, {', '.join(FAMILIES)}")
    with services.scratch(family) as directory:
        server = FAMILIES[family](directory)
        try:
            server.start()
            yield server
        finally:
            server.kill()
