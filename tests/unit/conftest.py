# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share."""

from __future__ import annotations

import os

from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

# Before any test imports the collection: what Python itself has loaded, the loader of Ansible does not know.
init_plugin_loader()

# How long an example takes says more about the machine than about the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("busy machine"), max_examples=1000)
settings.load_profile("deep" if os.environ.get("TEST_DEPTH") == "deep" else "busy machine")
