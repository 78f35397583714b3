# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what counts as a change, and what it weighs."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import (
    ADD,
    KEEP,
    REMOVE,
    REPLACE,
    AccessChange,
    BlobChange,
    ModelChange,
    Plan,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

NAME = ModelName.parse("llama3")
MANIFEST = Manifest(b"{}", None, ())


@pytest.mark.parametrize(
    "before, after, action",
    [
        (None, None, KEEP),
        (None, MANIFEST, ADD),
        (MANIFEST.digest, MANIFEST, KEEP),
        ("sha256:other", MANIFEST, REPLACE),
        (MANIFEST.digest, None, REMOVE),
    ],
)
def test_model_change_before_and_after_give_the_action(before, after, action):
    assert ModelChange(NAME, before, after).action == action


@pytest.mark.parametrize(
    "plan, changed",
    [
        (Plan(), False),
        (Plan(blobs=(BlobChange("a", 1, KEEP),), models=(ModelChange(NAME, MANIFEST.digest, MANIFEST),)), False),
        (Plan(blobs=(BlobChange("a", 1, ADD),)), True),
        (Plan(models=(ModelChange(NAME, None, MANIFEST),)), True),
        (Plan(access=(AccessChange("/a", "0644", "0600"),)), True),
        (Plan(warnings=("careful",)), False),
    ],
)
def test_plan_changed_only_if_something_will_be_different(plan, changed):
    assert plan.changed is changed


def test_plan_counts_the_bytes_that_come_and_go():
    actions = (ADD, REPLACE, KEEP, REMOVE)
    plan = Plan(blobs=tuple(BlobChange(action, 10**number, action) for number, action in enumerate(actions)))
    assert plan.bytes_to_transfer == 11
    assert plan.bytes_freed == 1000
    assert [blob.action for blob in plan.of(KEEP, REMOVE)] == [KEEP, REMOVE]
