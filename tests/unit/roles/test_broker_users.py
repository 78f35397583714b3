# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users that the role gives a broker and takes from it."""

from __future__ import annotations

from typing import Any

import pytest
from sound_values import SOUND


@pytest.mark.parametrize(
    "options, absent",
    [
        ({}, ["guest"]),
        ({"fleet_broker_remove_guest": False}, []),
        ({"fleet_broker_install": False}, []),
        # A user that is made and removed would be a change of each run.
        ({"fleet_broker_requester_username": "guest"}, []),
        # Without a password, the role does not make the user.
        ({"fleet_broker_gateway_username": "guest"}, ["guest"]),
        ({"fleet_broker_gateway_username": "guest", "fleet_broker_gateway_password": "secret"}, []),
    ],
)
def test_guest_is_removed_unless_the_role_makes_this_user(
    evaluate: Any, options: dict[str, Any], absent: list[str]
) -> None:
    wanted = evaluate("fleet_broker", "__fleet_broker_wanted", **{**SOUND["fleet_broker"], **options})
    assert wanted["absent_users"] == absent


@pytest.mark.parametrize(
    "options, refused",
    [
        ({"fleet_broker_observer_username": "requester"}, False),
        ({"fleet_broker_observer_username": "requester", "fleet_broker_observer_password": "secret"}, True),
        ({"fleet_broker_observer_password": "secret"}, False),
    ],
)
def test_observer_is_a_user_of_its_own_if_the_role_makes_it(
    evaluate: Any, options: dict[str, Any], refused: bool
) -> None:
    given = {**SOUND["fleet_broker"], **options}
    assert bool(evaluate("fleet_broker", "__fleet_broker_problems", **given)) is refused
    users = evaluate("fleet_broker", "__fleet_broker_users", **given)
    assert users["requester"]["write"].startswith(r"^(llm\.request")
