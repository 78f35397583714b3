# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""ETags as proof of content: most servers use the MD5 of the content, or of the MD5s of the parts.

With encryption, and on some servers, an ETag is any text. So an ETag that matches proves that an object has the content
of a file, and one that differs proves nothing. This helps with objects without a recorded digest, which another tool
wrote, or whose metadata the server dropped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

_MD5 = re.compile(r'"?([0-9a-f]{32})(?:-([0-9]{1,5}))?"?', re.IGNORECASE)

#: Part sizes in bytes of this collection and of the usual tools (aws, s3cmd and boto3, rclone, MinIO's mc).
_MIB = 1024 * 1024
_PART_SIZES = tuple(_MIB * count for count in (16, 8, 5, 64, 15))

#: Bytes of one read.
_BLOCK = 512 * 1024


def is_of_file(etag: str, descriptor: int, size: int, digest: str, part_sizes: Sequence[int] = ()) -> bool:
    """Return whether an ETag proves that an object has the content of a file, and the file has the digest.

    :param etag: the ETag of an object of the file's size.
    :param size: the size of the file in bytes.
    :param part_sizes: further part sizes that the uploader may have used.
    """
    found = _MD5.fullmatch(etag)
    if found is None:
        return False
    count = int(found[2] or 0)
    candidates = [each for each in dict.fromkeys((*part_sizes, *_PART_SIZES)) if -(-size // each) == count]
    if count and not candidates:
        return False
    wanted = etag.strip('"').lower()
    content, whole = hashlib.sha256(), _md5()
    parts: dict[int, list[Any]] = {each: [] for each in candidates}
    offset = 0
    while offset < size:
        block = os.pread(descriptor, min(_BLOCK, size - offset), offset)
        if not block:
            return False
        content.update(block)
        if not count:
            whole.update(block)
        for each, seen in parts.items():
            _add(seen, each, offset, block)
        offset += len(block)
    if f"sha256:{content.hexdigest()}" != digest:
        return False
    if not count:
        return bool(whole.hexdigest() == wanted)
    return any(_of_parts([part.digest() for part in seen]) == wanted for seen in parts.values())


def md5_of_parts(etags: Mapping[int, str]) -> str:
    """Return the ETag of an object of parts; empty if the ETags of the parts are not MD5s.

    :param etags: the ETags of the parts, by part number.
    """
    found = [_MD5.fullmatch(etags[number]) for number in sorted(etags)]
    if not all(match and not match[2] for match in found):
        return ""
    return _of_parts([bytes.fromhex(match[1]) for match in found if match])


def _add(seen: list[Any], part_size: int, offset: int, block: bytes) -> None:
    while block:
        left = part_size - offset % part_size
        if offset // part_size == len(seen):
            seen.append(_md5())
        seen[-1].update(block[:left])
        offset, block = offset + len(block[:left]), block[left:]


def _of_parts(digests: Sequence[bytes]) -> str:
    whole = _md5()
    whole.update(b"".join(digests))
    return f"{whole.hexdigest()}-{len(digests)}"


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
