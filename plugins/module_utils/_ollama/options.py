# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Conversion of runner options and keep-alive times to the types that Ollama requires.

Templates of a playbook turn numbers into texts. Ollama reports a text in place of a number only when it loads the
model, or never. ``option_ranges.py`` has the options and their types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Optional, Union

from .api_errors import OllamaError
from .option_ranges import BOOLEAN, INTEGER, NUMBER, TEXTS, names_of_kind

_INTEGERS = names_of_kind(INTEGER)
_NUMBERS = names_of_kind(NUMBER)
_BOOLEANS = names_of_kind(BOOLEAN)
_LISTS = names_of_kind(TEXTS)

_GO_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class InvalidOptionError(OllamaError):
    """An invalid runner option or keep-alive time; ``details["option"]`` is its name."""

    code = "invalid_option"


def runner_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with texts converted to the type of each option; unknown options stay as they are.

    :raises InvalidOptionError: for a value that does not fit the option's type.
    """
    return {name: _typed(name, value) for name, value in options.items()}


def _typed(name: str, value: Any) -> Any:
    if name in _LISTS:
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if name in _BOOLEANS:
        words = {"true": True, "yes": True, "false": False, "no": False}
        if str(value).lower() not in words:
            raise _unusable(name, value, "true or false")
        return words[str(value).lower()]
    if name in _INTEGERS or name in _NUMBERS:
        number = _number(value)
        if number is None or (name in _INTEGERS and not number.is_integer()):
            raise _unusable(name, value, "a whole number" if name in _INTEGERS else "a number")
        return int(number) if name in _INTEGERS else number
    return value


def _number(value: Any) -> Optional[float]:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def keep_alive(value: Union[str, int, float, None]) -> Union[str, int, float, None]:
    """Return the time in the form that Ollama accepts: a number of seconds, or a text with units such as ``10m``.

    :raises InvalidOptionError: for anything else.
    """
    text = str(value).strip()
    number = _number(value)
    if value is None or (isinstance(value, (int, float)) and number is not None):
        return value
    if number is not None and math.isfinite(number):
        return int(number) if number.is_integer() else number
    if not _GO_DURATION.fullmatch(text):
        raise _unusable("keep_alive", value, "a number of seconds, or a time with its units such as 90s, 10m or 1h30m")
    return text


def keep_alive_seconds(value: Union[str, int, float, None]) -> Optional[float]:
    """Return a keep-alive time in seconds: infinite for a negative time, None for the server's default."""
    value = keep_alive(value)
    if value is None:
        return None
    if isinstance(value, str):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
        value = -seconds if value.startswith("-") else seconds
    return math.inf if value < 0 else float(value)


def _unusable(name: str, value: Any, wanted: str) -> InvalidOptionError:
    return InvalidOptionError(f"{name} is {value!r}", remedy=f"Give {wanted}", option=name)
