# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The options of Ollama's API: the type of each, and the range that requesters may use.

Ollama itself accepts any number, and all requests of a model share its runner. There a ``repeat_last_n`` of 500,000,000
allocates several gigabytes, a ``repeat_penalty`` of 0 divides by zero, and thousands of ``stop`` texts are searched for
after each token. The ranges include all usual values, with a margin.

The options are those of Ollama v0.5.5 to v0.32.5 (api/types.go, Options and Runner). Newer servers ignore the options
that only older ones have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .errors import CollectionError
from .numbers import finite, whole
from .text import printable

#: The most texts of the option ``stop``, and the most characters of each.
MAX_STOPS = 64
MAX_STOP = 1024

INTEGER, NUMBER, BOOLEAN, TEXTS = "integer", "number", "boolean", "texts"


class RefusedFieldError(CollectionError):
    """A field of a request has a value that is not passed on to Ollama; ``details["field"]`` is its name.

    :ivar too_large: whether a smaller value would be passed on.
    """

    code = "refused_field"

    def __init__(self, field: str, problem: str, *, too_large: bool = False) -> None:
        super().__init__(f"{field} {problem}", field=field)
        self.too_large = too_large


@dataclass(frozen=True)
class Option:
    """One option.

    :ivar kind: its type.
    :ivar least: the smallest allowed number.
    :ivar most: the largest allowed number.
    :ivar runner: whether Ollama reloads the model if the option differs from what the model was loaded with
        (server/sched.go, needsReload).
    """

    kind: str
    least: float = -math.inf
    most: float = math.inf
    runner: bool = False


OPTIONS: Mapping[str, Option] = {
    # Sampling
    "num_keep": Option(INTEGER, -1, 1_048_576),
    "seed": Option(INTEGER, 1 - 2**53, 2**53 - 1),
    "num_predict": Option(INTEGER, -2, 1_048_576),
    "top_k": Option(INTEGER, 0, 1_000_000),
    "top_p": Option(NUMBER, 0, 1),
    "min_p": Option(NUMBER, 0, 1),
    "typical_p": Option(NUMBER, 0, 1),
    "tfs_z": Option(NUMBER, 0, 10),
    "repeat_last_n": Option(INTEGER, -1, 32_768),
    "temperature": Option(NUMBER, 0, 10),
    "repeat_penalty": Option(NUMBER, 0.1, 10),
    "presence_penalty": Option(NUMBER, -10, 10),
    "frequency_penalty": Option(NUMBER, -10, 10),
    "mirostat": Option(INTEGER, 0, 2),
    "mirostat_tau": Option(NUMBER, 0, 100),
    "mirostat_eta": Option(NUMBER, 0, 10),
    "penalize_newline": Option(BOOLEAN),
    "stop": Option(TEXTS),
    # Loading of the model
    "num_ctx": Option(INTEGER, 1, 1_048_576, runner=True),
    "num_batch": Option(INTEGER, 1, 16_384, runner=True),
    "num_gpu": Option(INTEGER, -1, 10_000, runner=True),
    "main_gpu": Option(INTEGER, 0, 255, runner=True),
    "num_thread": Option(INTEGER, 0, 1024, runner=True),
    "draft_num_predict": Option(INTEGER, 0, 1024, runner=True),
    "use_mmap": Option(BOOLEAN, runner=True),
    "use_mlock": Option(BOOLEAN, runner=True),
    "low_vram": Option(BOOLEAN, runner=True),
    "numa": Option(BOOLEAN, runner=True),
    "f16_kv": Option(BOOLEAN, runner=True),
    "logits_all": Option(BOOLEAN, runner=True),
    "vocab_only": Option(BOOLEAN, runner=True),
}

#: Options that a request may not set unless the node allows it.
RUNNER_OPTIONS = frozenset(name for name, option in OPTIONS.items() if option.runner)

#: Options whose range can be set.
RANGED = frozenset(name for name, option in OPTIONS.items() if option.kind in (INTEGER, NUMBER))

Ranges = Mapping[str, tuple[float, float]]


def names_of_kind(kind: str) -> frozenset[str]:
    """Return the names of the options of one type."""
    return frozenset(name for name, option in OPTIONS.items() if option.kind == kind)


def allowed(options: Mapping[str, Any], ranges: Ranges, pinned: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that are passed on, and the names of those that are left out.

    Unknown options, which Ollama would ignore, and pinned options are left out. A null counts as absent.

    :param ranges: ranges that replace those of :data:`OPTIONS`.
    :param pinned: options that the lane sets.
    :raises RefusedFieldError: when a value has the wrong type or is out of its range.
    """
    passed: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None or name in pinned:
            left_out.append(name)
        elif value is not None:
            passed[name] = _checked(name, option, value, ranges.get(name))
    return passed, left_out


def _checked(name: str, option: Option, value: Any, own: Optional[tuple[float, float]]) -> Any:
    field = f"options.{name}"
    if option.kind == BOOLEAN:
        if not isinstance(value, bool):
            raise RefusedFieldError(field, f"is {_shown(value)}, and must be true or false")
        return value
    if option.kind == TEXTS:
        return _stops(field, value)
    number = whole(value) if option.kind == INTEGER else finite(value)
    if number is None:
        wanted = "a whole number" if option.kind == INTEGER else "a number"
        raise RefusedFieldError(field, f"is {_shown(value)}, and must be {wanted}")
    least, most = own or (option.least, option.most)
    if not least <= number <= most:
        raise RefusedFieldError(
            field,
            f"is {_shown(value)}, and this lane takes {least:.10g} to {most:.10g}; send a value in this range, or have"
            " the lane's option_ranges widened",
        )
    return number if option.kind == INTEGER else value


def _stops(field: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedFieldError(field, "must be a list of texts")
    if len(texts) > MAX_STOPS or any(len(text) > MAX_STOP for text in texts):
        raise RefusedFieldError(
            field, f"has more than {MAX_STOPS} texts, or more than {MAX_STOP} characters in one", too_large=True
        )
    return texts


def _shown(value: Any) -> str:
    """Return a short text of a value for messages: a list, an object or an integer may have megabytes."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    return repr(printable(value, 40)) if isinstance(value, str) else str(value)
