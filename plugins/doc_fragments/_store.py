# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group store (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  models_path:
    description:
      - The models directory of Ollama.
      - If not set, the environment variable E(OLLAMA_MODELS) is asked. The default is below the home of the user that the module
        runs as, which is rarely the home of Ollama's service; say it explicitly for a service.
    type: path
    default: ~/.ollama/models
  owner:
    description:
      - User, by name or number, that owns what is created.
      - If not set, the owner of the models directory, or of its nearest parent that exists.
    type: str
  group:
    description:
      - Group, by name or number, of what is created.
      - If not set, the group of the models directory, or of its nearest parent that exists.
    type: str
  mode:
    description:
      - Permissions of the files that are created, as an octal number in a string, for example V('0640').
        Directories are searchable by whoever may read them.
      - If not set, files and directories are as open as the models directory, or as its nearest parent that exists,
        though never writable for everybody.
    type: raw
"""
