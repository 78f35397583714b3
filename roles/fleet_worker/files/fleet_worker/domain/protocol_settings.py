# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings for requests of protocol versions 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .._fleet.dialects import served
from .._fleet.dialects.base import Dialect
from .._fleet.encrypted_bodies import BodyCipher
from .._fleet.tokens import TokenSettings


@dataclass(frozen=True)
class ProtocolSettings:
    """The settings for requests that state a version of the protocol.

    :ivar dialects: the dialects of the served versions, and the refusal of other versions.
    :ivar instances: patterns of this node's instance names, like patterns of file names.
    :ivar tokens: the check of tokens; None to ignore tokens.
    :ivar unsigned: whether the worker also serves requests without a token.
    :ivar cipher: decrypts bodies; None to decrypt no bodies.
    """

    dialects: tuple[Dialect, ...] = served((2,))
    instances: tuple[str, ...] = ("default",)
    tokens: Optional[TokenSettings] = None
    unsigned: bool = True
    cipher: Optional[BodyCipher] = field(default=None, repr=False)


#: The settings without a configuration.
USUAL_PROTOCOL = ProtocolSettings()
