# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One page of a listing, as elements that can be changed before they become XML."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Elements = tuple[tuple[str, str], ...]

_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Page:
    """One page.

    :param told: the elements beside the entries.
    :param entries: one for each object.
    :param space: whether the elements are in S3's XML namespace.
    """

    told: Elements
    entries: tuple[Elements, ...]
    space: bool = True
    root: str = "ListBucketResult"
    more: Elements = field(default=())

    def text(self) -> str:
        """Return the page as XML."""
        inside = _elements(self.told)
        inside += "".join(f"<Contents>{_elements(entry)}</Contents>" for entry in self.entries)
        inside += _elements(self.more)
        space = f' xmlns="{_SPACE}"' if self.space else ""
        return f"<{self.root}{space}>{inside}</{self.root}>"


def _elements(pairs: Elements) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in pairs)
