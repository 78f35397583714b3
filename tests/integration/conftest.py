# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real parts of the lab as fixtures of the integration tests."""

from __future__ import annotations

from fixtures import broker, fresh_broker, leave_in_order, model_store, ollama, pytest_generate_tests, s3

__all__ = ["broker", "fresh_broker", "model_store", "ollama", "pytest_generate_tests", "s3"]

leave_in_order()
