# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes on the command lines of the benchmarks."""

from __future__ import annotations


def size(text: str) -> int:
    """Return the bytes that a text like ``2G`` means."""
    powers = {"K": 1, "M": 2, "G": 3}
    power = powers.get(text[-1:].upper(), 0)
    return int(text[:-1] if power else text) * 1024**power
