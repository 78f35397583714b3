# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The size of the grammar that llama.cpp makes of the ``pattern`` of a JSON schema.

llama.cpp (common/json-schema-to-grammar.cpp, _visit_pattern) reads a few constructs of regular expressions: literals,
escapes, ``.``, classes in square brackets, groups, ``|`` and quantifiers. This module refuses all other constructs,
because llama.cpp often has undefined behaviour instead of an error for them.
"""

from __future__ import annotations

from .numbers import digits

#: The most characters of a pattern, and the most levels of groups. Each level takes stack, in llama.cpp and here.
MAX_PATTERN = 512
MAX_GROUPS = 50


#: Characters that may follow a backslash: special characters of patterns, and escapes of the grammar
#: (llama-grammar.cpp, parse_char). Any other escape, such as \\d, makes the grammar unreadable, which ends the runner.
_ESCAPED = '^$.[]()|{}*+?trn\\"'
_ESCAPED_IN_CLASS = '[]trn\\"'
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}


class InvalidPatternError(ValueError):
    """A pattern cannot be used; the text completes "has a pattern that ..."."""


def repetitions(pattern: str, most: int) -> int:
    """Return the number of parts that a pattern has in the grammar, with all repetitions written out.

    :param most: the most repetitions; the repetitions of a group multiply those inside it.
    :raises InvalidPatternError: when the pattern cannot be used, or has more repetitions.
    """
    if len(pattern) > MAX_PATTERN:
        raise InvalidPatternError(f"has {len(pattern)} characters, and {MAX_PATTERN} are allowed")
    if len(pattern) < 2 or pattern[0] != "^" or pattern[-1] != "$":
        raise InvalidPatternError("does not begin with ^ and end with $, as Ollama wants it")
    if not pattern.isprintable():
        raise InvalidPatternError("has characters that cannot be printed")
    reader = _Reader(pattern[1:-1], most)
    weight, _empty = reader.alternatives()
    if not reader.at_end:
        raise InvalidPatternError("has a closing parenthesis without its opening one")
    return weight


class _Reader:
    """Reads a pattern. A weight is a number of parts; ``empty`` says whether a part can match the empty text."""

    def __init__(self, text: str, most: int) -> None:
        self._text = text
        self._most = most
        self._at = 0
        self._groups = 0
        #: Whether the last atom may be repeated.
        self._repeatable = True

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def alternatives(self) -> tuple[int, bool]:
        """Read to the end of the group."""
        weight, empty_ways, empty = 0, 0, True
        while not self.at_end and self._text[self._at] != ")":
            if self._text[self._at] == "|":
                self._at += 1
                empty_ways, empty = empty_ways + empty, True
                continue
            part, part_empty = self._quantified(*self._atom())
            weight += part
            empty = empty and part_empty
        empty_ways += empty
        if empty_ways > 1:
            raise InvalidPatternError("has several alternatives that can be empty")
        return self._bounded(max(1, weight)), empty_ways == 1

    def _atom(self) -> tuple[int, bool]:
        character = self._text[self._at]
        self._at += 1
        # llama.cpp repeats the last byte, which is only a part of a character outside ASCII.
        self._repeatable = character.isascii()
        if character == "(":
            if self._text.startswith("?", self._at):
                raise InvalidPatternError("has a group that begins with ?, which Ollama does not know")
            self._groups += 1
            if self._groups > MAX_GROUPS:
                raise InvalidPatternError(f"has more than {MAX_GROUPS} levels of groups")
            found = self.alternatives()
            self._groups -= 1
            if self.at_end:
                raise InvalidPatternError("has an opening parenthesis without its closing one")
            self._at += 1
            self._repeatable = True
            return found
        if character == "[":
            self._skip_class()
        elif character == "\\":
            self._escape(_ESCAPED)
        elif character in "]}":
            raise InvalidPatternError(f"has a {character} without its opening one; write it with a backslash")
        elif character in "*+?{":
            raise InvalidPatternError(f"has a {character} with nothing before it that it could repeat")
        return 1, False

    def _skip_class(self) -> None:
        self._at += self._text.startswith("^", self._at)
        start = self._at
        while not self.at_end and self._text[self._at] != "]":
            first = self._member()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                if self.at_end or self._member() < first:
                    raise InvalidPatternError("has a range of characters whose end is before its beginning")
        if self.at_end:
            raise InvalidPatternError("has an opening square bracket without its closing one")
        if self._at == start:
            raise InvalidPatternError("has empty square brackets")
        self._at += 1

    def _member(self) -> str:
        """Read a character in square brackets."""
        character = self._text[self._at]
        self._at += 1
        return _CONTROLS.get(found := self._escape(_ESCAPED_IN_CLASS), found) if character == "\\" else character

    def _escape(self, known: str) -> str:
        """Read the character after a backslash."""
        escaped = self._text[self._at : self._at + 1]
        if not escaped:
            raise InvalidPatternError("ends with a backslash")
        if escaped not in known:
            raise InvalidPatternError(f"has a backslash before {escaped!r}, which Ollama does not know there")
        self._at += 1
        return escaped

    def _quantified(self, weight: int, empty: bool) -> tuple[int, bool]:
        if self.at_end or self._text[self._at] not in "*+?{":
            return weight, empty
        least, most = self._quantifier()
        if not self._repeatable:
            raise InvalidPatternError("repeats a character that is not ASCII; put it into square brackets")
        if not self.at_end and self._text[self._at] in "*+?{":
            raise InvalidPatternError("has two quantifiers in a row, which Ollama does not know")
        if empty:
            # Each part that can be empty doubles the combinations that the runner tries.
            raise InvalidPatternError("has a quantifier after a part that can be empty")
        return self._bounded(weight * max(1, least, most or 0)), empty or least == 0

    def _quantifier(self) -> tuple[int, int | None]:
        """Read the limits of a repetition; None for no limit."""
        character = self._text[self._at]
        self._at += 1
        if character != "{":
            return (1 if character == "+" else 0), (1 if character == "?" else None)
        end = self._text.find("}", self._at)
        first, comma, second = self._text[self._at : max(end, self._at)].partition(",")
        least = digits(first) if first else 0
        most = least if not comma else digits(second) if second else None
        if end < 0 or least is None or (second and most is None) or not (first or second):
            raise InvalidPatternError("has curly brackets without a valid number of repetitions")
        if most is not None and least > most:
            raise InvalidPatternError("has a repetition whose minimum is above its maximum")
        self._at = end + 1
        self._bounded(max(least, most or 0))
        return least, most

    def _bounded(self, weight: int) -> int:
        if weight > self._most:
            raise InvalidPatternError(f"repeats its parts more than {self._most} times in all")
        return weight
