# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands blobs of shared models to the other nodes of the fleet.

It needs Python 3.9 and nothing else. ``python3 -m blob_server CONFIG`` runs it.
"""

from __future__ import annotations

__version__ = "1.0.0"
