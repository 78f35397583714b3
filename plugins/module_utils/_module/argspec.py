# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Argument specs that can be merged: option groups, with the constraints between their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ArgumentSpec:
    """The arguments of ``AnsibleModule``: the options, and the constraints between them."""

    argument_spec: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mutually_exclusive: Sequence[Sequence[str]] = ()
    required_together: Sequence[Sequence[str]] = ()
    required_one_of: Sequence[Sequence[str]] = ()
    required_if: Sequence[Sequence[Any]] = ()
    required_by: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def merge(self, *others: ArgumentSpec) -> ArgumentSpec:
        """Return the union of this spec and the others.

        :raises ValueError: if two of them define the same option, because a name belongs to one group.
        """
        merged = self
        for other in others:
            twice = sorted(set(merged.argument_spec) & set(other.argument_spec))
            if twice:
                raise ValueError(f"options defined twice: {', '.join(twice)}")
            merged = ArgumentSpec(
                {**merged.argument_spec, **other.argument_spec},
                [*merged.mutually_exclusive, *other.mutually_exclusive],
                [*merged.required_together, *other.required_together],
                [*merged.required_one_of, *other.required_one_of],
                [*merged.required_if, *other.required_if],
                {**merged.required_by, **other.required_by},
            )
        return merged

    def to_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments for ``AnsibleModule``."""
        return {
            "argument_spec": {name: dict(option) for name, option in self.argument_spec.items()},
            "mutually_exclusive": [list(names) for names in self.mutually_exclusive],
            "required_together": [list(names) for names in self.required_together],
            "required_one_of": [list(names) for names in self.required_one_of],
            "required_if": [list(rule) for rule in self.required_if],
            "required_by": {name: list(names) for name, names in self.required_by.items()},
        }
