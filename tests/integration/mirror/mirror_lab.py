# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models, mirrors and module runs for the tests of the mirror."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def new_bucket(s3: Any) -> S3Settings:
    """Create a bucket on a server of the lab, and return the settings for it."""
    settings = S3Settings(
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )
    sdk_client(Mirror(settings)).create_bucket(Bucket=settings.bucket)
    return settings


def sdk_client(mirror: Mirror) -> Any:
    """The SDK's client of a mirror: for what a mirror has no words for, and to see what the SDK does."""
    return mirror._objects._sdk.client  # type: ignore[attr-defined]


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Model:
    """A test model with any bytes as layers."""

    name: str
    layers: Sequence[bytes]
    config: bytes = b'{"model_format":"gguf"}'
    raw: bytes = field(init=False)

    def __post_init__(self) -> None:
        entries = [
            {"mediaType": "application/vnd.ollama.image.model", "digest": digest_of(layer), "size": len(layer)}
            for layer in self.layers
        ]
        config = {"mediaType": "x", "digest": digest_of(self.config), "size": len(self.config)}
        # Not as json.dumps would write it by default: the bytes must survive.
        self.raw = json.dumps(
            {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": entries}, separators=(" ,", ": ")
        ).encode()

    @property
    def parsed(self) -> ModelName:
        return ModelName.parse(self.name)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest_of(content): content for content in (*self.layers, self.config)}

    @property
    def size(self) -> int:
        return sum(len(content) for content in self.blobs.values())

    def publish(self, mirror: Mirror) -> Model:
        """Put the model into a mirror, without the code under test except the connection."""
        for digest, content in self.blobs.items():
            mirror.write(mirror.layout.blob_key(digest), content, digest)
        mirror.write(mirror.layout.manifest_key(self.parsed), self.raw, digest_of(self.raw))
        return self

    def store(self, path: Path) -> Model:
        """Put the model into a store, as Ollama would."""
        (path / "blobs").mkdir(parents=True, exist_ok=True)
        for digest, content in self.blobs.items():
            self.blob_path(path, digest).write_bytes(content)
        self.manifest_path(path).parent.mkdir(parents=True, exist_ok=True)
        self.manifest_path(path).write_bytes(self.raw)
        return self

    def blob_path(self, path: Path, digest: str) -> Path:
        return path / "blobs" / digest.replace(":", "-")

    def manifest_path(self, path: Path) -> Path:
        return path.joinpath("manifests", *self.parsed.manifest_parts)


def large_and_many(mirror: Mirror, large: bytes) -> list[Model]:
    """Publish a model with one large blob, and one with many small blobs and a part of the large one."""
    small = [os.urandom(1000) for _layer in range(40)]
    return [
        Model("large", [large, b"template"]).publish(mirror),
        Model("many", [*small, large[: 9 * 1024 * 1024]]).publish(mirror),
    ]


def assert_sound(path: Path, *present: Model, others: tuple[str, ...] = ()) -> None:
    """Check a store: every blob has its digest, no manifest lacks a blob, no foreign files.

    :param others: folders that are right here beside those of a store.
    """
    names = set()
    for file in sorted(path.joinpath("manifests").glob("*/*/*/*")):
        manifest = Manifest.parse(file.read_bytes())
        names.add(file.relative_to(path / "manifests").parts)
        for blob in manifest.blobs:
            assert (path / "blobs" / blob.digest.replace(":", "-")).stat().st_size == blob.size
    for file in (path / "blobs").iterdir():
        assert file.name == digest_of(file.read_bytes()).replace(":", "-"), f"{file} is damaged or a stranger"
    for model in present:
        assert model.parsed.manifest_parts in names, f"{model.name} is missing"
        assert model.manifest_path(path).read_bytes() == model.raw
    assert {entry.name for entry in path.iterdir()} <= {"blobs", "manifests", ".legionio-ollama", *others}


def leftovers(path: Path) -> list[str]:
    """Return the unexpected files in an importer's directory."""
    workspace = path / ".legionio-ollama"
    names = {entry.name for entry in workspace.iterdir()} if workspace.is_dir() else set()
    return sorted(names - {"lock", "verified.json"})


def until_another_waits(path: Path, within: float = 120.0) -> None:
    """Wait until a process waits for the lock of a store that another one holds.

    A process that waits has the lock's file open and sleeps between two tries, so nothing lists it as waiting. Two
    looks that find the file open twice are one after its first try: that try follows the opening at once.
    """
    lock = path / ".legionio-ollama" / "lock"
    deadline = time.monotonic() + within
    found = 0
    while found < 2:
        found = found + 1 if _users_of(lock) > 1 else 0
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.2)


def _users_of(file: Path) -> int:
    """Return how many processes have a file open."""
    users = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == str(file):
                users.add(descriptor.parts[2])
    return len(users)


def journal(path: Path, digest: str) -> Path:
    """Return the path of a blob's journal."""
    return path / ".legionio-ollama" / f"{digest.replace(':', '-')}.journal"


def until_noted(file: Path, size: int, within: float = 120.0) -> None:
    """Wait until a journal records that many bytes of its blob."""
    deadline = time.monotonic() + within
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        if any(int(line.partition(" ")[0]) >= size for line in lines):
            return
        assert time.monotonic() < deadline, f"{size} bytes have not come: {lines}"
        time.sleep(0.02)


def options(settings: S3Settings, **changes: Any) -> dict[str, Any]:
    """Return the module options for some settings."""
    settings = replace(settings, **changes)
    given = {
        "bucket": settings.bucket,
        "prefix": settings.prefix,
        "endpoint_url": settings.endpoint_url,
        "region": settings.region,
        "access_key": settings.access_key,
        "secret_key": settings.secret_key,
        "s3_ca_path": settings.ca_path,
        "addressing_style": settings.addressing_style,
    }
    return {name: value for name, value in given.items() if value is not None}


@dataclass
class Outcome:
    """The output of a module run."""

    result: dict[str, Any]
    text: str

    @property
    def changed(self) -> bool:
        return bool(self.result["changed"])

    @property
    def failed(self) -> bool:
        return " | FAILED! => " in self.text


def command(module: str, arguments: dict[str, Any], *flags: str) -> list[str]:
    """Return the command that runs a module as Ansible does."""
    return [
        *("ansible", "localhost", "-i", "localhost,", "-c", "local"),
        *("-e", f"ansible_python_interpreter={os.environ.get('MIRROR_TEST_PYTHON', sys.executable)}"),
        *("-m", f"legionio.ollama.{module}", "-a", json.dumps(arguments), *flags),
    ]


def environment(**changes: str) -> dict[str, str]:
    """Return an environment without settings of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OLLAMA_"))}
    # No instance metadata: looking for credentials there takes seconds to fail.
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", **changes}


def run_module(
    module: str,
    arguments: dict[str, Any],
    *flags: str,
    env: dict[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Outcome:
    """Run a module through Ansible, as a user would.

    :param wrapper: a command that runs another one.
    """
    done = subprocess.run(
        [*wrapper, *command(module, arguments, *flags)],
        check=False,  # a failed module is what many tests want
        # Of the kinds of inventories the one that is given; to load the others takes a sixth of the whole.
        env=environment(ANSIBLE_INVENTORY_ENABLED="ansible.builtin.host_list", **(env or {})),
        capture_output=True,
        text=True,
        timeout=300,
    )
    marker = " => "
    assert marker in done.stdout, done.stdout + done.stderr
    result, _end = json.JSONDecoder().raw_decode(done.stdout.split(marker, 1)[1])
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return Outcome(result, text)


def start_module(
    module: str, arguments: dict[str, Any], *wrapper: str, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a module as a process of its own, without a controller: quick to start, and to be killed.

    :param wrapper: a command that runs another one.
    """
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-m", f"ansible_collections.legionio.ollama.plugins.modules.{module}"],
        env=environment(**(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    given = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


def finish_module(process: subprocess.Popen[str]) -> Outcome:
    """Wait for the end of a started module, and return its output."""
    printed, complaints = process.communicate(timeout=300)
    assert printed.strip(), complaints
    result = json.loads(printed)
    assert result.get("error_code") != "unexpected", result
    return Outcome({"changed": False, **result}, (" | FAILED! => " if result.get("failed") else "") + printed)
