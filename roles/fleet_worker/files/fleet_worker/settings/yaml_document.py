# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reading of a YAML file within limits: a running worker reads it at each SIGHUP, and must survive any content."""

from __future__ import annotations

import os
import stat
from typing import Any

import yaml

#: The most bytes of a file.
MAX_BYTES = 1024 * 1024
#: The most levels of lists and mappings.
MAX_DEPTH = 32
#: The most values of a document. A value counts at each alias again.
MAX_VALUES = 100_000


class UnreadableError(Exception):
    """A file is missing, is not a regular file, or is not YAML within the limits. The text is one line."""


def read(path: str) -> Any:
    """Return the document in a file.

    :raises UnreadableError: for every problem with the file.
    """
    try:
        text = _content(path)
    except (OSError, ValueError) as error:
        raise UnreadableError(
            f"cannot be read: {_one_line(error)}; give the path of the configuration with --config"
        ) from error
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:
        # YAML's own errors, and errors of a constructor: a date such as 2026-02-30 is a ValueError.
        raise UnreadableError(f"is not YAML: {_one_line(error)}; correct it there") from error


def _content(path: str) -> str:
    # Without waiting, because a pipe in place of the file would block the thread that also waits for SIGTERM.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(f"it has more than {MAX_BYTES} bytes")
    return content.decode("utf-8")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


class _Loader(yaml.SafeLoader):
    """A loader that counts values during the composition, before aliases can multiply the constructed values."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        #: The number of values in each node, including the node.
        self._weights: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it has more than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias:
            self._weights[id(node)] = self._weight(node)
        elif id(node) not in self._weights:
            raise yaml.YAMLError("an alias stands inside of what it repeats")
        return node

    def _weight(self, node: Any) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        pairs = [node.value] if isinstance(node, yaml.SequenceNode) else node.value
        weight = 1 + sum(self._weights[id(part)] for pair in pairs for part in pair)
        if weight > MAX_VALUES:
            raise yaml.YAMLError(f"it has more than {MAX_VALUES} values")
        return weight
