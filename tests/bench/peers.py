# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do without this collection, and what a disk does alone, each a process of its own.

usage: peers.py boto3 ENDPOINT BUCKET KEY FILE DIGEST     boto3's download_file, then hash the file
       peers.py get ENDPOINT BUCKET KEY FILE DIGEST       lex-ollama's flow: one GET into a file, then hash the file
       peers.py each ENDPOINT BUCKET PREFIX FOLDER LIST   the same for many objects, one after the other;
                                                          LIST is a file with a digest a line
       peers.py each-synced ...                           the same, each synced to the disk before it gets its name
       peers.py rehash FOLDER                             lex-ollama's second run: hash what is there
       peers.py write FOLDER COUNT SIZE                   write so many files of so many bytes each, and sync each
Credentials come from the environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_BLOCK = 1024 * 1024

#: Not zeros, which a disk could store in another way.
_BYTES = memoryview(bytes(range(256)) * (_BLOCK // 256))


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


def write(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as file:
        for offset in range(0, size, _BLOCK):
            file.write(_BYTES[: min(_BLOCK, size - offset)])
        os.fsync(file.fileno())


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "rehash":
        for path in sorted(Path(arguments[0]).iterdir()):
            check(path, path.name.replace("-", ":"))
        return
    if what == "write":
        folder, count, size = Path(arguments[0]), int(arguments[1]), int(arguments[2])
        # As many threads as an import has. Other threads write while one waits for the disk.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: write(folder / str(number), size), range(count)))
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
