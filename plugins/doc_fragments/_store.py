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
      - If not set, E(OLLAMA_MODELS) is used. The default is below the home of the user that the module runs as, which is rarely the home
        of Ollama's service. Set the option for a service.
    type: path
    default: ~/.ollama/models
  owner:
    description:
      - User, by name or number, that owns new files and directories.
      - If not set, the owner of the models directory, or of its nearest parent that exists.
    type: str
  group:
    description:
      - Group, by name or number, of new files and directories.
      - If not set, the group of the models directory, or of its nearest parent that exists.
    type: str
  mode:
    description:
      - Permissions of new files, as an octal number in a string, for example V('0640'). Users who may read a directory may also search it.
      - If not set, the permissions follow the models directory, or its nearest parent that exists, but never allow everybody to write.
    type: raw
"""
