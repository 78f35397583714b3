# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A defect of ours: it is logged once, with what is known of it, and costs the substitute."""

from __future__ import annotations

import logging

import pytest
from fleet_worker.logs.defects import contained


def test_contained_without_a_defect_returns_the_value(caplog: pytest.LogCaptureFixture) -> None:
    assert contained(lambda: 5, lambda _error: 0) == 5
    assert not caplog.records


def test_contained_with_a_defect_logs_it_and_returns_the_substitute(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise LookupError("a defect")

    with caplog.at_level(logging.ERROR):
        assert contained(broken, lambda error: type(error).__name__, lane="q") == "LookupError"
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["fields"]) == ("defect", {"lane": "q"})
    assert record.exc_info is not None and record.exc_info[0] is LookupError


def test_contained_lets_the_end_of_the_process_pass() -> None:
    def ends() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contained(ends, lambda _error: None)
