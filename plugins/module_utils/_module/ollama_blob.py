# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_blob: upload a file to a server as a blob."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._ollama.api_errors import DigestMismatchError, OllamaError, UploadSourceError
from .._ollama.digests import parse_digest
from .._ollama.uploads import digest_and_size
from .server_options import connect


def blob(module: AnsibleModule) -> dict[str, Any]:
    """Make a file present on the server as a blob."""
    path = module.params["path"]
    announced = module.params["digest"]
    expected = parse_digest(announced) if announced else None
    digest, size = digest_and_size(path)
    if expected and expected != digest:
        raise UnexpectedFileError(
            f"The digest of {path} is {digest}, but {expected} was expected",
            remedy="The file is wrong or damaged: fetch it again, or correct the digest",
            path=path,
            digest=digest,
            expected=expected,
        )
    with connect(module) as client:
        client.version()  # another server may answer every HEAD with success, so that no blob would seem to be missing
        if module.check_mode:
            changed = not client.has_blob(digest)
        else:
            try:
                changed = client.push_blob(digest, path)
            except DigestMismatchError as error:
                raise UploadSourceError(
                    f"The file {path} changed while it was uploaded: {error.message}",
                    remedy="Run the task again when nothing writes to the file",
                    path=path,
                ) from error
    there = {"digest": digest, "size": size}
    return {
        "changed": changed,
        "path": path,
        **there,
        "diff": {"before": {} if changed else there, "after": there},
    }


class UnexpectedFileError(OllamaError):
    """A file does not have the digest that the task gives."""

    code = "digest_mismatch"
