# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import (
    ArgumentSpec,
)


def test_constraints_travel_with_their_options() -> None:
    left = ArgumentSpec({"a": {"type": "str"}}, required_one_of=[["a", "b"]], required_by={"a": ["b"]})
    right = ArgumentSpec(
        {"b": {"type": "int"}},
        mutually_exclusive=[["a", "b"]],
        required_if=[("a", "x", ["b"])],
    )
    kwargs = left.merge(right).to_kwargs()
    assert kwargs["argument_spec"] == {"a": {"type": "str"}, "b": {"type": "int"}}
    assert kwargs["required_one_of"] == [["a", "b"]]
    assert kwargs["mutually_exclusive"] == [["a", "b"]]
    assert kwargs["required_if"] == [["a", "x", ["b"]]]
    assert kwargs["required_by"] == {"a": ["b"]}


def test_a_name_belongs_to_one_group() -> None:
    with pytest.raises(ValueError, match="defined twice: a"):
        ArgumentSpec({"a": {}}).merge(ArgumentSpec({"a": {}}))


def test_merging_leaves_the_parts_as_they_were() -> None:
    left = ArgumentSpec({"a": {}})
    left.merge(ArgumentSpec({"b": {}}))
    assert set(left.argument_spec) == {"a"}
