# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode passes on a new node, where earlier tasks have not created what later ones use."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("check, there, owner", [(True, False, ""), (True, True, "ollama"), (False, False, "ollama")])
def test_owner_that_a_real_run_would_create_is_left_out_in_check_mode(
    evaluate: Any, check: bool, there: bool, owner: str
) -> None:
    entry = ["x", "999"] if there else None
    options = {
        "ansible_check_mode": check,
        "__ollama_server_user_entry": {"ansible_facts": {"getent_passwd": {"ollama": entry}}},
        "__ollama_server_group_entries": {"results": [{"ansible_facts": {"getent_group": {"ollama": entry}}}]},
    }
    for name in ("__ollama_server_owner", "__ollama_server_owner_group"):
        assert evaluate("ollama_server", name, **options) == owner
