# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures of the tests of roles, also where Ansible runs a role."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader
from role_fixtures import compiled_once, evaluate, render, tools

__all__ = ["compiled_once", "evaluate", "render", "tools"]

# Before any test renders a template: it finds no plugin of Ansible otherwise.
init_plugin_loader()
