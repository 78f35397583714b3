# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_file: one object of a bucket as a file, or one file as an object."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models.single_file import Deposit, Fetch
from .._mirror.s3.layout import refuse_unsafe_parts
from .._mirror.s3.mirror import Mirror
from .._mirror.s3.settings import S3Settings
from .._mirror.state.lock import LockWait
from .._ollama.digests import parse_digest
from .._ollama.safe_fs import Ownership
from .diffs import file_diff
from .groups import s3_settings
from .progress import reported_progress
from .s3_options import endpoint_in_failures, server_remarks


@dataclass(frozen=True)
class FileOptions:
    """The options of a task.

    :ivar published: whether to upload the file, instead of downloading the object.
    :ivar digest: the digest that the content must have; None for any.
    """

    key: str
    path: str
    published: bool
    digest: Optional[str]
    mirror: S3Settings

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> FileOptions:
        """Read the parameters of the module.

        :raises CollectionError: for an invalid checksum or key.
        """
        digest = _digest(params["checksum"])
        key = params["key"].lstrip("/")
        refuse_unsafe_parts("key", key.split("/"))
        return cls(key, params["path"], params["state"] == "published", digest, s3_settings(params))


def handle_file(module: AnsibleModule) -> dict[str, Any]:
    """Make one object of the bucket present as a file, or one file present in the bucket."""
    options = FileOptions.from_params(module.params)
    mirror = Mirror(options.mirror)
    path = options.path
    transferred = 0
    with reported_progress() as counter, endpoint_in_failures(options.mirror):
        if options.published:
            deposit = Deposit(mirror, options.key, path, options.digest, counter=counter)
            plan = deposit.plan()
            if plan.changed and not module.check_mode:
                transferred = deposit.apply(plan)
        else:
            fetch = Fetch(mirror, options.key, path, options.digest, wait=LockWait(module.warn), counter=counter)
            plan = fetch.plan()
            if plan.changed and not module.check_mode:
                transferred = fetch.apply(plan, _ownership_of(path, asked=module.params["mode"] is not None))
    changed = plan.changed
    attributes: dict[str, dict[str, object]] = {}
    if not options.published and os.path.exists(path):
        # The mode of a link cannot be changed, so a link at the path would differ from the wanted mode in every run.
        wanted = module.load_file_common_arguments(module.params, path=os.path.realpath(path))
        changed = module.set_fs_attributes_if_different(wanted, changed, attributes)
    where = mirror.settings.url(options.key) if options.published else path
    return {
        "changed": changed,
        "key": options.key,
        "path": path,
        "checksum": plan.after,
        "size": plan.size,
        "bytes_transferred": transferred,
        **server_remarks(module, mirror),
        **({"diff": file_diff(where, plan.before, plan.after, plan.size, attributes)} if module._diff else {}),
    }


def _digest(checksum: Optional[str]) -> Optional[str]:
    if not checksum:
        return None
    return parse_digest(checksum if checksum.startswith("sha256") else f"sha256:{checksum}")


def _ownership_of(path: str, *, asked: bool) -> Ownership:
    """Return the owner and mode of the file that will be replaced, or of a new file by default.

    :param asked: whether the task has a mode. The module sets that mode at the end, and until then nobody else may read
        the file.
    """
    private = 0o600 if asked else 0o777
    try:
        state = os.stat(path)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return Ownership(None, None, 0o666 & ~mask & private, None)
    root = os.geteuid() == 0
    mode = stat.S_IMODE(state.st_mode) & private
    return Ownership(state.st_uid if root else None, state.st_gid if root else None, mode, None)
