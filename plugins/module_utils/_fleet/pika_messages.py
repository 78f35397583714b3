# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Messages to and from pika's classes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .._ollama.errors import MissingDependencyError
from .messages import Message, Properties

_NAMES = tuple(field.name for field in fields(Properties))


def from_pika(properties: Any, body: bytes) -> Message:
    """Return a message of what pika delivers."""
    return Message(
        Properties(**{name: getattr(properties, name) for name in _NAMES}), dict(properties.headers or {}), body
    )


def to_pika(message: Message) -> Any:
    """Return the ``pika.BasicProperties`` of a message.

    :raises MissingDependencyError: without pika.
    """
    try:
        from pika import BasicProperties
    except ImportError as error:
        raise MissingDependencyError("pika", "talk to the broker") from error

    return BasicProperties(
        **{name: getattr(message.properties, name) for name in _NAMES}, headers=dict(message.headers)
    )
