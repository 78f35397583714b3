# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do without this collection, each a process of its own.

usage: peers.py boto3 ENDPOINT BUCKET KEY FILE DIGEST     boto3's download_file, then hash the file
       peers.py get ENDPOINT BUCKET KEY FILE DIGEST       lex-ollama's flow: one GET into a file, then hash the file
       peers.py each ENDPOINT BUCKET PREFIX FOLDER LIST   the same for many objects, one after the other;
                                                          LIST is a file with a digest a line
       peers.py each-synced ...                           the same, each synced to the disk before it gets its name
       peers.py rehash FOLDER                             lex-ollama's second run: hash what is there
Credentials come from the environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_BLOCK = 1024 * 1024


def client(endpoint: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", endpoint_url=endpoint, config=Config(response_checksum_validation="when_required"))


def digest_of(path: Path) -> str:
    seen = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        view = memoryview(bytearray(_BLOCK))
        while count := file.readinto(view):
            seen.update(view[:count])
    return f"sha256:{seen.hexdigest()}"


def check(path: Path, digest: str) -> None:
    if digest_of(path) != digest:
        sys.exit(f"{path} is damaged")


def get(s3: Any, bucket: str, key: str, path: Path, digest: str) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key)["Body"], file, _BLOCK)
    check(path, digest)


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "rehash":
        for path in sorted(Path(arguments[0]).iterdir()):
            check(path, path.name.replace("-", ":"))
        return
    endpoint, bucket, key, place, wanted = arguments
    s3 = client(endpoint)
    if what == "boto3":
        s3.download_file(bucket, key, place)
        check(Path(place), wanted)
    elif what == "get":
        get(s3, bucket, key, Path(place), wanted)
    elif what in ("each", "each-synced"):
        incoming = Path(place) / "incoming"
        for digest in Path(wanted).read_text().split():
            name = digest.replace(":", "-")
            get(s3, bucket, f"{key}{name}", incoming, digest)
            if what == "each-synced":
                with incoming.open("rb") as file:
                    os.fsync(file.fileno())
            incoming.replace(Path(place) / name)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
