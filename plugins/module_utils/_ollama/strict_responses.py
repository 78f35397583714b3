# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Checks of a response's head after http.client has read it.

http.client takes an interim response such as 102 for the final one, takes the first of two lengths, and ignores a
length that is not a number. The next response on the same connection would then begin in the middle of this one.
"""

from __future__ import annotations

import http.client
import re

#: The most interim responses (1xx) before the final one. Servers send one or two.
MAX_INTERIM = 16

_LENGTH = re.compile(r"[0-9]{1,15}")


class HeadError(http.client.HTTPException):
    """The head of a response is not valid HTTP/1, or contradicts itself."""


class FinalResponse(http.client.HTTPResponse):
    """A final response; the interim responses before it are skipped."""

    def begin(self) -> None:
        """Read the head of the response.

        :raises HeadError: when there are too many interim responses.
        """
        for _number in range(MAX_INTERIM):
            super().begin()
            if self.status >= 200:
                break
            if self.status == http.client.SWITCHING_PROTOCOLS:
                raise HeadError("the answer switches to another protocol, which the request did not ask for")
            self.headers = None  # type: ignore[assignment]  # begin() then reads another head
        else:
            raise HeadError(f"more than {MAX_INTERIM} interim answers came before the answer")


class StrictResponse(FinalResponse):
    """A final response with an unambiguous end."""

    def begin(self) -> None:
        """Read the head of the response.

        :raises HeadError: when the end of the body is not certain.
        """
        super().begin()
        self._check()

    def _check(self) -> None:
        headers = self.headers
        if headers.defects or headers.get_payload() or any("\n" in value for value in headers.values()):
            raise HeadError("a line in the head of the answer is not a header")
        lengths = headers.get_all("Content-Length", [])
        codings = headers.get_all("Transfer-Encoding", [])
        if len(lengths) + len(codings) > 1:
            raise HeadError("the answer has more than one length or transfer encoding")
        if lengths and not _LENGTH.fullmatch(lengths[0].strip()):
            raise HeadError("the length of the answer is not a number, or too large")
        if codings and (codings[0].strip().lower() != "chunked" or self.version < 11):
            raise HeadError("the answer has a transfer encoding that was not asked for")
