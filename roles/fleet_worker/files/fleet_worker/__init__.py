# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet worker: takes inference requests from RabbitMQ, has Ollama answer them, and sends the answers back."""

from __future__ import annotations

#: The version of the collection that this worker came with (galaxy.yml).
__version__ = "1.0.0"
