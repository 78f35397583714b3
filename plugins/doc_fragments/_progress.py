# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group progress (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  progress:
    description:
      - Whether to show progress lines with model, bytes, percent, rate and remaining time on the error stream of the controller.
      - The first line appears after two seconds. C(async) and C(no_log) suppress progress lines.
    type: bool
    default: true
  progress_interval:
    description: Seconds between two lines of one host, at least V(1).
    type: float
    default: 10
"""
