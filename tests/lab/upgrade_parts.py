# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make what the drill of upgrades upgrades to: upgrade_parts.py DIRECTORY

The lab has one Ollama that can run models, one collection and one version of each model. So DIRECTORY gets:

- ``ollama-0.24.1.tgz``: the lab's Ollama with another version number in the program, so that it can run models, and
  says that it is newer;
- ``ollama-0.32.5.tgz``: the lab's newest Ollama, which starts and answers its API, and cannot run any model;
- ``newer/ansible_collections``: the staged collection with a worker of version 1.0.1, whose configuration has one more
  key, ``next_key``;
- ``store``: the lab's models, with one more layer, a licence, in all-minilm.

``checksums.json`` has the SHA-256 of each archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

VERSION, NEXT = b"0.24.0", b"0.24.1"
NEWEST = "0.32.5"
MODEL = "manifests/registry.ollama.ai/library/all-minilm/latest"
LICENSE = b"Apache License 2.0, as before; this text is what the newer version of the model brings.\n"


def pack(archive: Path, program: bytes) -> str:
    """Write an archive as Ollama's releases are; return its SHA-256."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        entry = tarfile.TarInfo("bin/ollama")
        entry.size, entry.mode = len(program), 0o755
        packed.addfile(entry, io.BytesIO(program))
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def newer_store(store: Path, models: Path) -> None:
    """Copy a store by links, and give a model of the copy one more layer."""
    shutil.copytree(models, store, copy_function=os.link)
    digest = f"sha256:{hashlib.sha256(LICENSE).hexdigest()}"
    (store / "blobs" / digest.replace(":", "-")).write_bytes(LICENSE)
    path = store / MODEL
    manifest = json.loads(path.read_text())
    layer = {"mediaType": "application/vnd.ollama.image.license", "digest": digest, "size": len(LICENSE)}
    manifest["layers"].append(layer)
    # A new file: the old one is a link to that of the lab.
    path.unlink()
    path.write_text(json.dumps(manifest, separators=(",", ":")))


def newer_collection(tree: Path) -> None:
    """Copy the staged collection with a worker of another version, whose configuration has one more key."""
    staged = Path(os.environ["LEGIONIO_BUILD"]) / "ansible_collections"
    shutil.copytree(staged, tree / "ansible_collections", symlinks=True)
    role = tree / "ansible_collections/legionio/ollama/roles/fleet_worker"
    raise_text(role / "files/fleet_worker/__init__.py", '__version__ = "1.0.0"', '__version__ = "1.0.1"')
    key = "    own_lanes: bool = False\n"
    raise_text(role / "files/fleet_worker/settings/config.py", key, f"{key}    next_key: bool = False\n")
    written = '  own_lanes: "{{ fleet_worker_own_lanes | bool }}"\n'
    raise_text(role / "vars/main.yml", written, f"{written}  next_key: true\n")
    path = role / "meta/config_schemas.json"
    schemas = json.loads(path.read_text())
    schemas["worker"]["properties"]["next_key"] = {"type": "boolean"}
    path.write_text(json.dumps(schemas))


def raise_text(path: Path, old: str, new: str) -> None:
    """Replace a text of a file that has the text."""
    text = path.read_text()
    if old not in text:
        raise SystemExit(f"{path} does not have {old!r}, which this script replaces; correct the script")
    path.write_text(text.replace(old, new))


def main() -> None:
    directory, cache = Path(sys.argv[1]), Path(os.environ["LEGIONIO_CACHE"])
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    program = (cache / "bin/ollama").read_bytes()
    programs = sorted(cache.glob("parts/ollama-newest-*/bin/ollama"))
    if not programs:
        raise SystemExit("the newest Ollama is not built; make parts-ollama builds it")
    newest = programs[-1].read_bytes()
    checksums = {
        NEXT.decode(): pack(directory / f"ollama-{NEXT.decode()}.tgz", program.replace(VERSION, NEXT)),
        NEWEST: pack(directory / f"ollama-{NEWEST}.tgz", newest),
    }
    (directory / "checksums.json").write_text(json.dumps(checksums))
    newer_store(directory / "store", (cache / "store").resolve())
    newer_collection(directory / "newer")


if __name__ == "__main__":
    main()
