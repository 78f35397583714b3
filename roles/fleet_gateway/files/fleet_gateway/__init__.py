# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet gateway: an HTTP server in front of the queues, for clients of Ollama, OpenAI and Anthropic."""

from __future__ import annotations

#: The version of the collection that this gateway came with (galaxy.yml).
__version__ = "1.0.0"
