# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dictionaries become what systemd reads."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.legionio.ollama.plugins.filter.unit_text import unit_text


def test_sections_booleans_lists_and_resets() -> None:
    text = unit_text(
        {"Unit": {"After": "a.service"}, "Service": {"PrivateUsers": False, "ExecStart": ["", "/bin/x y"], "Nice": 5}}
    )
    assert text == "[Unit]\nAfter=a.service\n\n[Service]\nPrivateUsers=no\nExecStart=\nExecStart=/bin/x y\nNice=5\n"


def test_a_line_break_cannot_smuggle_a_directive() -> None:
    with pytest.raises(AnsibleFilterError, match="Environment in section Service"):
        unit_text({"Service": {"Environment": "A=1\nUser=root"}})


def test_a_section_must_be_a_dictionary() -> None:
    with pytest.raises(AnsibleFilterError, match="Section Service"):
        unit_text({"Service": "Nice=5"})  # type: ignore[dict-item]
