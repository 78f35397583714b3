# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelt names are found, and the near ones are suggested."""

from __future__ import annotations

from ansible_collections.legionio.ollama.plugins.filter.unknown_names import unknown_names

KNOWN = {"web_port": {}, "web_root": {}}


def test_known_names_are_left_out() -> None:
    assert unknown_names(["web_port", "web_root"], KNOWN) == []


def test_a_near_name_is_suggested() -> None:
    assert unknown_names(["web_ports", "web_port"], KNOWN) == ["web_ports (did you mean web_port?)"]


def test_a_far_name_is_named_alone() -> None:
    assert unknown_names(["web_authentication_backend"], KNOWN) == ["web_authentication_backend"]
