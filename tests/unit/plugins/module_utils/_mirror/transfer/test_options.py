# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a download."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import (
    CHUNK_SIZE,
    CONCURRENCY,
    TransferOptions,
)


def test_options_without_values_are_the_documented_defaults():
    assert TransferOptions() == TransferOptions(CONCURRENCY, CHUNK_SIZE, None) == TransferOptions(8, 8 * 1024**2)


def test_options_once_made_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TransferOptions().concurrency = 1
