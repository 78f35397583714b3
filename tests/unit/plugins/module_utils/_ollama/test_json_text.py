# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Properties, decode
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._module.progress import decoded
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.documents import (
    MAX_DOCUMENT_LEVELS,
    read_object,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.json_text import (
    MAX_LEVELS,
    NestedTooDeeplyError,
    has_more_levels,
    read_json,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest, ManifestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.model_list import parameters_of
from hypothesis import example, given
from hypothesis import strategies as st

DEEPEST = 200_000


def nested(levels: int, inner: str = "0") -> str:
    return "[" * levels + inner + "]" * levels


def nested_objects(levels: int, inner: str = "0") -> str:
    return '{"a":' * levels + inner + "}" * levels


def depth(value: Any) -> int:
    inner = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


VALUES = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.text(alphabet='a,[]{}":\\\u00e4\u4e16\ud800', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a[{]}"\\', max_size=4), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(VALUES, st.booleans(), st.integers(0, 12))
@example(["]" * 20], True, 0)
@example({"\\": ['\\"', {"[": []}]}, True, 0)
def test_has_more_levels_counts_the_levels_of_any_value(value: Any, escaped: bool, around: int) -> None:
    text, levels = json.dumps(value, ensure_ascii=escaped), depth(value) + around
    text = "[" * around + text + "]" * around
    assert not has_more_levels(text, levels)
    assert levels == 0 or has_more_levels(text, levels - 1)


@given(st.text(alphabet='[]{}",:\\0 a', max_size=60), st.integers(0, 30))
def test_has_more_levels_of_a_text_that_is_no_json_misses_no_level_that_the_parser_meets(
    text: str, around: int
) -> None:
    text = "[" * around + text
    met = 0
    inside = escaped = False
    level = 0
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == "\\":
            break  # the parser has given up
        elif character == '"':
            inside = True
        elif character in "[]{}":
            level += 1 if character in "[{" else -1
            met = max(met, level)
            if level < 0:
                break
    assert met == 0 or has_more_levels(text, met - 1)


@pytest.mark.parametrize("make", [nested, nested_objects])
def test_read_json_takes_the_most_levels_and_no_more(make: Callable[[int], str]) -> None:
    assert depth(read_json(make(MAX_LEVELS))) == MAX_LEVELS
    for encoding in ("utf-8", "utf-16", "utf-32"):
        assert depth(read_json(make(MAX_LEVELS).encode(encoding))) == MAX_LEVELS
        with pytest.raises(NestedTooDeeplyError, match=f"more than {MAX_LEVELS} levels"):
            read_json(make(MAX_LEVELS + 1).encode(encoding))


def test_read_json_of_many_brackets_beside_each_other_or_in_texts_reads_them() -> None:
    value = {"a": [[{}] * 3, "[" * 500, '"[' * 500, "\\[" * 500] * 500}
    assert read_json(json.dumps(value)) == value


@pytest.mark.timeout(300)  # a time that grows with the depth would take hours
@pytest.mark.parametrize(
    "text",
    [
        nested(2_000_000),
        "[[]" * 1_000_000 + "]" * 1_000_000,
        ("[" * 90 + "]" * 90) * 20_000,
        '"[' * 2_000_000,
        "]" * 4_000_000,
    ],
    ids=["comb", "teeth", "waves", "texts", "closing"],
)
def test_read_json_of_a_text_that_is_meant_to_take_long_ends_soon(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|Expecting|Extra|delimiter"):
        read_json(text)


class _Closing:
    """Something whose finalizer takes some calls in each other, as those do that close a connection and log it."""

    def __init__(self) -> None:
        self._itself = self  # so that only the garbage collector finds it

    def __del__(self) -> None:
        _call(20)


def _call(levels: int) -> int:
    # By way of C: newer Pythons count only such calls.
    return sum(map(_call, (levels - 1,))) if levels else 0


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    found: list[str] = []

    def note(raised: Any) -> None:
        found.append(raised.exc_type.__name__)

    monkeypatch.setattr(sys, "unraisablehook", note)
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what there is already is not looked at again, hundreds of times
    yield found
    gc.unfreeze()
    gc.set_threshold(*threshold)


def collect_while(read: Callable[[], object], allocations: int) -> None:
    """Run a reader, and have garbage with finalizers collected after some objects that it makes."""
    gc.collect()
    gc.disable()
    for _one in range(3):
        _Closing()
    gc.set_threshold(allocations)
    gc.enable()
    # That is what readers did about it, and it helps the reader alone.
    with contextlib.suppress(ValueError, RecursionError, ManifestError):
        read()
    gc.set_threshold(700)
    gc.collect()


def greatest_depth(read: Callable[[str], object], inner: str) -> int:
    """Return how many levels Python's parser takes here."""
    low, high = 1, DEEPEST
    while high - low > 1:
        middle = (low + high) // 2
        try:
            read(nested(middle, inner))
            low = middle
        except RecursionError:
            high = middle
    return low


def finalizers_that_fail(read: Callable[[str], object], unraisable: list[str]) -> int:
    """Return how many finalizers failed while texts of about the greatest depth were read."""
    # A number has the parser call a function of Python, after which newer Pythons collect garbage.
    for inner in ("0", "1.5"):
        greatest = greatest_depth(json.JSONDecoder(parse_float=_finite).decode, inner)
        for levels, before in itertools.product(range(greatest - 12, greatest + 2), range(1, 14, 2)):
            collect_while(lambda: read(nested(levels, inner)), levels - before)  # noqa: B023 - called at once
    return len(unraisable)


def _finite(text: str) -> float:
    return float(text)


def test_python_parser_close_to_its_greatest_depth_fails_finalizers(unraisable: list[str]) -> None:
    # Why there is a limit. When this fails, Python has learnt better.
    decoder = json.JSONDecoder(parse_float=_finite)
    assert finalizers_that_fail(decoder.decode, unraisable)
    assert set(unraisable) == {"RecursionError"}


def _body(text: str) -> object:
    return decode(Message(Properties(), {}, text.encode()), 10**9)


def _shown(text: str) -> object:
    return parameters_of({"parameters": f"stop {text}"})


READERS: dict[str, Callable[[str], object]] = {
    "read_json": read_json,
    "decode": _body,
    "read_object": lambda text: read_object(text.encode()),
    "manifest": lambda text: Manifest.parse(text.encode()),
    "parameters": _shown,
}


@pytest.mark.parametrize("reader", READERS)
def test_reader_of_a_text_of_any_depth_fails_no_finalizer(reader: str, unraisable: list[str]) -> None:
    assert finalizers_that_fail(READERS[reader], unraisable) == 0


class _Workspace:
    """A folder that has one file."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, _name: str, _most: int) -> bytes:
        return self._content


def test_readers_of_a_text_that_is_nested_too_deeply_refuse_it_as_what_it_is() -> None:
    deep = nested_objects(MAX_LEVELS + 1)
    document, failure = decode(Message(Properties(), {}, deep.encode()), 10**9)
    assert (document, failure and failure.code) == ({}, "unsupported_type")
    assert failure is not None
    assert failure.message == "the body is nested more than 100 levels deep"
    assert read_object(deep.encode()) is None
    with pytest.raises(ManifestError, match="nested more than 100 levels"):
        Manifest.parse(deep.encode())
    records: Any = _Workspace(deep.encode())
    assert not VerificationRecords(records).outdated
    assert _shown(deep) == {"stop": deep}


@pytest.mark.parametrize("text", ["-" * 100_000 + "1", "(" * 100_000, '"a"' + "+-1j" * 50_000, "[" * 150 + "]" * 150])
def test_parameters_that_are_no_single_text_stay_as_they_are(text: str) -> None:
    assert _shown(text) == {"stop": text}


def test_progress_of_a_state_that_is_nested_too_deeply_is_none() -> None:
    import zlib

    text = nested_objects(MAX_LEVELS + 1)
    assert decoded(f"{zlib.crc32(text.encode()):08x} {text}") is None


def test_answer_of_the_most_levels_leaves_some_for_what_stands_around_it() -> None:
    answer = read_object(nested_objects(MAX_DOCUMENT_LEVELS).encode())
    body = json.dumps({"result": {"message": answer}}).encode()
    assert decode(Message(Properties(), {}, body), 10**9)[1] is None
