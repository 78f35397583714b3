# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that compares the values of a role's options with their declarations."""

from __future__ import annotations

DOCUMENTATION = r"""
name: value_problems
short_description: Find values of a role with a wrong type
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Compares the values of options with their declarations in an argument spec, and returns a sentence for each value that does not fit.
  - Ansible's own validation of a role converts the values before it checks them, but the role gets the unconverted values. So this filter accepts no text
    as a list, no empty value, and no text with line breaks or other control characters. In a list, a text may be a public key in PEM, which has line breaks.
  - This filter accepts no number as a text, because YAML reads a password C(0123) as 83, and a version C(0.30) as 0.3. Only an option whose name ends with
    C(_memory_max) may be a number of bytes.
  - The entries of a list of dictionaries are compared with the declarations of their keys, if there are any.
  - The values are not part of the sentences, because they may be secrets.
positional: options
options:
  _input:
    description: The values by their names.
    type: dict
    required: true
  options:
    description: The options of an argument spec by their names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse values of the wrong type
  vars:
    values: {web_ports: "80,443"}
    options: {web_ports: {type: list, elements: int}}
  ansible.builtin.assert:
    that: values | legionio.ollama.value_problems(options) == []
"""

RETURN = r"""
_value:
  description: The sentences, without a full stop.
  type: list
  elements: str
  sample: ["web_ports must be a list, but is a text"]
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

#: The texts that Ansible accepts as booleans.
BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"})
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
#: A public key in PEM (RFC 7468): the only text of an option that needs line breaks.
PUBLIC_KEY = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]+-----END PUBLIC KEY-----\s*")
#: The end of the names of options that are texts, and for which a whole number is as good.
SIZES = "_memory_max"
NAMES = {
    "bool": "true or false",
    "dict": "a dictionary",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a text",
    "str": "a text",
}


def value_problems(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each value that does not fit its option."""
    return [
        f"{name} {problem}"
        for name, option in options.items()
        if name in values
        for problem in problems_of(str(values[name]) if is_size(name, values[name]) else values[name], option)
    ]


def problems_of(value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problem of one option's value; at most one sentence."""
    kind = option.get("type", "str")
    if not fits(value, kind):
        yield f"must be {NAMES.get(kind, kind)}, but is {shown(value)}{remedy(value, kind)}"
        return
    elements = option.get("elements")
    if kind == "list" and elements:
        for place, one in enumerate(value, start=1):
            if not fits(one, elements):
                yield (
                    f"must have {NAMES.get(elements, elements)} in each entry, but entry {place} is {shown(one)}"
                    f"{remedy(one, elements)}"
                )
                return
    texts = [one for one in value if not is_public_key(one)] if kind == "list" else [value]
    if any(isinstance(one, str) and CONTROL.search(one) for one in texts):
        yield "has a line break or another control character; remove it (what was read from a file may need the filter trim)"
        return
    choices = option.get("choices")
    if choices and any(one not in choices for one in texts):
        yield f"must be one of {', '.join(map(str, choices))}"
        return
    if "options" in option:
        yield from itertools.islice(nested_problems(value if kind == "list" else [value], option["options"]), 1)


def nested_problems(entries: Iterable[Mapping[str, Any]], options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of dictionaries whose keys are declared."""
    for place, entry in enumerate(entries, start=1):
        unknown = [key for key in entry if key not in options]
        missing = [key for key, option in options.items() if option.get("required") and entry.get(key) is None]
        if unknown or missing:
            yield (
                f"must have {', '.join(options)} in each entry, but entry {place} has"
                f" {f'no {missing[0]}' if missing else f'the unknown key {unknown[0]}'}"
            )
        for key, one in entry.items():
            for problem in problems_of(one, options.get(key, {"type": "raw"})):
                yield f"has in entry {place} a wrong {key}: it {problem}"


def is_public_key(value: Any) -> bool:
    """Return whether a value is a public key in PEM."""
    return isinstance(value, str) and PUBLIC_KEY.fullmatch(value) is not None


def fits(value: Any, kind: str) -> bool:
    """Return whether a value has a type of Ansible's argument specs."""
    if kind == "bool":
        return isinstance(value, bool) or (isinstance(value, (int, str)) and str(value).lower() in BOOLEANS)
    if kind in ("int", "float"):
        form = r"[+-]?[0-9]{1,18}" if kind == "int" else r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?"
        return (
            isinstance(value, (int, float, str))
            and not isinstance(value, bool)
            and bool(re.fullmatch(form, str(value)))
        )
    if kind == "list":
        return isinstance(value, (list, tuple))
    if kind == "dict":
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if kind in ("str", "path"):
        return isinstance(value, str)
    return True


def is_size(name: str, value: Any) -> bool:
    """Return whether a value is the whole number of an option that may be one instead of a text."""
    return name.endswith(SIZES) and isinstance(value, int) and not isinstance(value, bool)


def remedy(value: Any, kind: str) -> str:
    """Return what to do about a value that YAML or a template has made of a text."""
    return "; put the value in quotes" if kind in ("str", "path") and isinstance(value, (int, float)) else ""


def shown(value: Any) -> str:
    """Return the type of a value for people, without the value."""
    if value is None:
        return "empty"
    for kind, name in ((bool, "true or false"), (str, "a text"), ((int, float), "a number"), (Mapping, "a dictionary")):
        if isinstance(value, kind):
            return name
    return "a list" if isinstance(value, (list, tuple)) else "something else"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"value_problems": value_problems}
