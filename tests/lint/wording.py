# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain English in comments, docstrings, documents, the texts of programs, and the names of tests.

The patterns are few, and each has no use that plain English needs: a reader of the whole tree found them again and
again where a sentence read like a translation.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tree import tree_files

#: Each pattern with what to write instead. A space of a pattern is any white space, a line break too.
PATTERNS = {
    r"\b(?:is|are|was|were|be|been|being|get|gets) told\b": "say who reports, sends, returns or distinguishes what",
    r"(?<!\bone\s)(?<!\beach\s)(?<!\bboth\s)(?<!\bsome\s)\bof (?:which|whom)\b": 'write "whose", or two sentences',
    r"\b(?:what|which) is none\b": "name the thing: an invalid value, a malformed header",
    r"\b(?:is|are|be|or) none that\b": "say what the thing is or lacks",
    r"\b(?:that|what|which|this|it) (?:is|are) no (?!longer|more|less|better|other|slower|faster)": 'write "is not a"',
    r"\bwhat (?:becomes|became|has become|comes|came) of\b": 'write "the outcome of", "the result of"',
    r"\b(?:lets?|letting) go of\b": "write releases, closes, detaches",
    r"\bas it (?:stands|stood)\b": "name the version or the state",
    r"\banew\b": 'write "again", or rewrites, reloads, redeclares',
    r"\bbefalls?\b": 'write "happens to"',
    r"(?<!\bare\s)(?<!\bis\s)\ball the same\b": 'write "still", "anyway"',
    r"\b(?:giv(?:e|es|en|ing)|gave)(?: \w+){0,2} out\b(?! of)": "write delivers, sends, prints",
    r"\b(?:for|after|within|at most|up to) so many\b": 'write "for some seconds", or name the number',
    r"\bwhen there (?:is|are|was|were) none\b": 'write "without", and name the thing',
    # A sentence, not the first of its text, that has a question as its subject, and is not a question or a heading.
    r"[\w)`'\"]\. (?-i:What|Who|Whoever) [^?.:;]+[.;](?=\s|$)": "name the subject instead of what, who or whoever",
}
COMPILED = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), hint) for pattern, hint in PATTERNS.items()]
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
#: The most words of a string that is not a sentence.
WORDS = 2
#: Names of tests that read like a translation.
TRANSLATED = re.compile(r"^test_(?:(?:what|whatever|it|they|those|nobody|nothing)_|\w*_(?:told|that_is_none)(?:_|$))")
DOCUMENTS = (".md", ".yml", ".yaml", ".j2")


class Prose(NamedTuple):
    """A text for readers.

    :ivar line: number of its first line in the file, counted from 1.
    """

    line: int
    text: str


def comments(source: str) -> Iterator[Prose]:
    """Yield the comments of a Python file; comments on lines that follow each other are one text."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != last + 1:
            yield Prose(first, "\n".join(block))
            block = []
        if not block:
            first = token.start[0]
        last = token.start[0]
        block.append(token.string.lstrip("#: "))
    if block:
        yield Prose(first, "\n".join(block))


def docstrings(source: str) -> Iterator[Prose]:
    """Yield the docstrings of a Python file, and the documentation strings of Ansible plugins."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str) and (isinstance(node, ast.Expr) or "\n" in text):
                yield Prose(node.value.lineno, text)


def strings(source: str) -> Iterator[Prose]:
    """Yield the strings of a Python file with three words or more, such as the texts of errors, logs, help and metrics.

    Docstrings are not among them. The values in a formatted string are left out.
    """
    tree = ast.parse(source)
    others = {id(node.value) for node in ast.walk(tree) if isinstance(node, (ast.Expr, ast.Assign))}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            others.update(map(id, node.values))
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in others:
            text = node.value
        else:
            continue
        if len(text.split()) > WORDS:
            yield Prose(node.lineno, text)


def translated_names(source: str) -> Iterator[int]:
    """Yield the lines of the tests whose names do not name the thing that they check."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and TRANSLATED.search(node.name):
            yield node.lineno


def section_sentences(source: str) -> Iterator[int]:
    """Yield the lines of the section comments in classes that end with a full stop.

    A section comment is one line with an empty line above and below.
    """
    lines = ["", *source.splitlines(), ""]
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for number in (number for node in classes for number in range(node.lineno, node.end_lineno or node.lineno)):
        alone = not lines[number - 1].strip() and not lines[number + 1].strip()
        if alone and re.fullmatch(r"    # [A-Z].*\.", lines[number]):
            yield number


def prose(name: str, source: str) -> list[Prose]:
    """Return what a file says to its readers; nothing if it is neither code nor a document."""
    if name.endswith(".py"):
        return [*comments(source), *docstrings(source), *strings(source)]
    if name.endswith(".md"):
        return [Prose(1, FENCED.sub(lambda fenced: "\n" * fenced.group().count("\n"), source))]
    return [Prose(1, source)] if name.endswith(DOCUMENTS) else []


def offences(root: Path) -> Iterator[str]:
    for name in tree_files(root):
        if not name.endswith((".py", *DOCUMENTS)) or name.startswith(("tests/lint/", "tests/unit/lint/")):
            continue
        source = (root / name).read_text()
        for first, text in prose(name, source):
            for pattern, hint in COMPILED:
                for found in pattern.finditer(text):
                    line = first + text.count("\n", 0, found.start())
                    yield f'{name}:{line}: "{" ".join(found.group().split())}" is not plain English: {hint}'
        if name.endswith(".py"):
            for line in translated_names(source):
                yield f"{name}:{line}: the name of a test begins with the thing that it checks, and says the outcome"
            for line in section_sentences(source):
                yield f"{name}:{line}: a section comment is a noun without a full stop"
