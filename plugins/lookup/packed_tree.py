# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup that packs a directory of the controller into one reproducible archive."""

from __future__ import annotations

DOCUMENTATION = r"""
name: packed_tree
short_description: Pack a directory of the controller into one reproducible archive
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Reads a directory on the controller, follows its symbolic links, and returns a digest over the names, the execute bits and the
    contents of all files, and the path of a C(.tar.gz) that contains them.
  - The same files give the same digest and the same archive on every controller. Dates, owners and links do not matter.
  - The archive is in the temporary directory of the running Ansible process, which Ansible removes when it ends. So a task of the same
    run must transfer it, for example M(ansible.builtin.unarchive), which moves a tree of many files in one transfer.
  - Hidden files, C(__pycache__) directories and C(*.pyc) files are left out.
options:
  _terms:
    description: Directories on the controller.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Install a tree under a directory named after its contents
  vars:
    tree: "{{ lookup('legionio.ollama.packed_tree', '/srv/app') }}"
  ansible.builtin.unarchive:
    src: "{{ tree.archive }}"
    dest: "/opt/app/{{ tree.digest[:12] }}/"
    owner: root
    group: root
"""

RETURN = r"""
_raw:
  description: One dictionary for each directory.
  type: list
  elements: dict
  contains:
    digest:
      description: SHA-256 over the names, execute bits and contents, in hexadecimal.
      type: str
      sample: 3b9c1e0f6a7d2b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4
    archive:
      description: Path of the archive on the controller. It exists until the run ends.
      type: str
      sample: /root/.ansible/tmp/ansible-local-4242abcd/packed-3b9c1e0f6a7d.tar.gz
    files:
      description: Names of the files, relative to the directory, sorted.
      type: list
      elements: str
      sample: [app/__init__.py, app/main.py]
"""

import gzip
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]
    """Entry point that Ansible looks for."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Pack each directory named in ``terms``."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [packed(Path(term), Path(C.DEFAULT_LOCAL_TMP)) for term in terms]
        except OSError as error:
            raise AnsibleLookupError(f"The directory cannot be packed: {error}.") from error


def packed(root: Path, directory: Path) -> dict[str, Any]:
    """Return digest, archive and files of the tree at ``root``; create the archive in ``directory``.

    :raises OSError: if ``root`` is not a directory, or a file in it cannot be read.
    """
    members = sorted(tree_files(root))
    digest = hashlib.sha256()
    for name in members:
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        digest.update(f"{name}\0{file_mode(root / name):o}\0{content}\n".encode())
    archive = directory / f"packed-{digest.hexdigest()[:16]}.tar.gz"
    if not archive.exists():
        write_archive(root, members, archive)
    return {"digest": digest.hexdigest(), "archive": str(archive), "files": members}


def tree_files(root: Path) -> Iterator[str]:
    """Yield the names of the files under ``root``, relative to it, in POSIX form."""
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a directory on the controller")
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield (Path(folder) / name).relative_to(root).as_posix()


def file_mode(path: Path) -> int:
    """Return 0755 for a file that its owner may execute, else 0644, so that the umask of a checkout does not matter."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def write_archive(root: Path, members: list[str], archive: Path) -> None:
    """Write the archive under a temporary name first, because the lookups of several hosts may run at once."""
    handle, scratch = tempfile.mkstemp(dir=archive.parent, prefix=f"{archive.name}.")
    with (
        os.fdopen(handle, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for folder in sorted({str(parent) for name in members for parent in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = (root / name).stat().st_size, file_mode(root / name)
            with (root / name).open("rb") as source:
                tar.addfile(entry, source)
    os.replace(scratch, archive)
