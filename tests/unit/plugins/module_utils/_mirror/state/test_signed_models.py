# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of signatures: an earlier signature replaces a later one only where that is allowed."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.signed_models import (
    read_signed,
    write_signed,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership

OURS = Ownership(None, None, 0o600, 0o700)
NAME, OTHER = ModelName.parse("llama3:8b"), ModelName.parse("phi")
OLD, NEW = ("sha256:" + "a" * 64, 100.0), ("sha256:" + "b" * 64, 200.0)


@pytest.fixture
def workspace(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


def write(workspace, models, *, allow_rollback=False):
    write_signed(workspace, models, OURS, allow_rollback=allow_rollback)
    return read_signed(workspace)


def test_signed_models_are_read_by_the_keys_of_their_names(workspace):
    assert read_signed(None) == read_signed(workspace) == {}
    assert write(workspace, {NAME: OLD}) == {NAME.key: OLD}
    assert ModelName.parse("LLAMA3:8B").key in read_signed(workspace), "another spelling of the name has no record"


def test_write_models_are_added_to_those_of_other_processes(workspace):
    write(workspace, {NAME: OLD})
    assert write(workspace, {OTHER: NEW}) == {NAME.key: OLD, OTHER.key: NEW}


@pytest.mark.parametrize("allow_rollback", [False, True])
def test_write_later_signature_replaces_an_earlier_one(workspace, allow_rollback):
    write(workspace, {NAME: OLD})
    assert write(workspace, {NAME: NEW}, allow_rollback=allow_rollback) == {NAME.key: NEW}


def test_write_earlier_signature_replaces_a_later_one_only_in_a_rollback(workspace):
    write(workspace, {NAME: NEW})
    assert write(workspace, {NAME: OLD, OTHER: OLD}) == {NAME.key: NEW, OTHER.key: OLD}
    assert write(workspace, {NAME: OLD}, allow_rollback=True) == {NAME.key: OLD, OTHER.key: OLD}


def test_write_same_model_with_an_earlier_signature_keeps_the_later_time(workspace):
    write(workspace, {NAME: NEW})
    assert write(workspace, {NAME: (NEW[0], 150.0)}) == {NAME.key: NEW}


def test_write_other_model_of_the_same_second_replaces_the_first(workspace):
    write(workspace, {NAME: OLD})
    assert write(workspace, {NAME: (NEW[0], OLD[1])}) == {NAME.key: (NEW[0], OLD[1])}


def test_write_known_models_leave_the_file_alone(workspace, tmp_path):
    write(workspace, {NAME: NEW})
    before = (tmp_path / "signed.json").stat().st_ino
    os.link(tmp_path / "signed.json", tmp_path / "kept")  # so that no new file gets the same number
    write(workspace, {NAME: NEW})
    write(workspace, {NAME: OLD})
    write(workspace, {})
    assert (tmp_path / "signed.json").stat().st_ino == before


@pytest.mark.parametrize(
    "record", [5, None, "text", [], ["sha256:1"], ["sha256:1", "soon"], ["sha256:1", None], [1, 2, 3], ["x", 10**400]]
)
def test_read_damaged_record_is_no_record(workspace, tmp_path, record):
    content = {"format": 1, "models": {NAME.key: record}}
    (tmp_path / "signed.json").write_text(json.dumps(content))
    assert read_signed(workspace) == {}
    assert write(workspace, {NAME: OLD}) == {NAME.key: OLD}
