# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.support.format import in_bytes


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_363_023, "98.4 MB"),
        (4_661_224_676, "4.7 GB"),
        (5e12, "5.0 TB"),
    ],
)
def test_in_bytes_any_count_is_in_decimal_units(count, text):
    assert in_bytes(count) == text
