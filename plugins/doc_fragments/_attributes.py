# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Attributes that every module documents; each module states its own support."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what would change, without changing it.
  diff_mode:
    description: Returns what changed, or would change in check mode.
  idempotent:
    description: A second run with the same options changes nothing, if nothing else changed in between.
  platform:
    description: The systems that the module runs on.
    platforms: posix
"""

    # Modules that change nothing.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
"""

    ACTIONGROUP_S3 = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/legionio.ollama.s3) in C(module_defaults) to set defaults for all modules that talk to the mirror.
    support: full
    membership:
      - legionio.ollama.s3
"""

    ACTIONGROUP_SERVER = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/legionio.ollama.server) in C(module_defaults) to set defaults for all modules that talk to an Ollama server.
    support: full
    membership:
      - legionio.ollama.server
"""

    ACTIONGROUP_FLEET = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/legionio.ollama.fleet) in C(module_defaults) to set defaults for all modules that talk through the broker.
    support: full
    membership:
      - legionio.ollama.fleet
"""

    ACTIONGROUP_PROGRESS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/legionio.ollama.progress) in C(module_defaults) to set defaults for all modules that show their progress.
    support: full
    membership:
      - legionio.ollama.progress
"""
