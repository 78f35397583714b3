# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is set for requests of protocol versions 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .._fleet.dialects import served
from .._fleet.dialects.base import Dialect
from .._fleet.encrypted_bodies import BodyCipher
from .._fleet.tokens import TokenSettings


@dataclass(frozen=True)
class ProtocolSettings:
    """What requests that state a version of the protocol are served under.

    :ivar dialects: those of the versions that are served, and the refusal of the others.
    :ivar instances: patterns of the instances that this node is, in the way of file names.
    :ivar tokens: how tokens are checked; None when nobody looks at them.
    :ivar unsigned: whether requests without a token are served, too.
    :ivar cipher: what decrypts bodies; None when they are not decrypted.
    """

    dialects: tuple[Dialect, ...] = served((2,))
    instances: tuple[str, ...] = ("default",)
    tokens: Optional[TokenSettings] = None
    unsigned: bool = True
    cipher: Optional[BodyCipher] = field(default=None, repr=False)


#: When nothing is set.
USUAL_PROTOCOL = ProtocolSettings()
