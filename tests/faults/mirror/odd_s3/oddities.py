# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which a server can be odd, as data: an example that fails is printed as the calls that make it.

An oddity may change how the service behaves (:meth:`Oddity.manners`), what stands on a page of a listing
(:meth:`Oddity.page`), or what an answer says (:meth:`Oddity.answer`), at one place (:data:`.request.PLACES`).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace

from .answer import CHUNKED, CLOSE, Answer, error
from .page import Elements, Page
from .request import Request
from .service import Manners

#: What may be done to one value, by name. ``None`` as the result leaves the value out.
CHANGES: dict[str, Callable[[str], str | None]] = {
    "missing": lambda value: None,
    "empty": lambda value: "",
    "blanks": lambda value: f"  {value} ",
    "garbled": lambda value: "?!",
    "hostile": lambda value: "\x1b[2J../../etc/passwd%0d%0aX: 1",
    "upper": str.upper,
    "lower": str.lower,
    "weak": lambda value: f"W/{value}",
    "unquoted": lambda value: value.strip('"'),
    "negative": lambda value: f"-{value}",
    "huge": lambda value: "9" * 40,
    "hex": lambda value: "0x10",
}

PAGES = {
    "console": b"<!DOCTYPE html><html><head><title>Console</title></head><body><br>Sign in</body></html>",
    "proxy": b"404 page not found\n",
    "json": b'{"error": "no upstream"}',
    "nothing": b"",
    "half of an XML": b"<?xml version='1.0'?><Error><Code>Slow",
    "another XML": b"<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><title>x</title></feed>",
    "bytes": bytes(range(256)),
}


@dataclass(frozen=True)
class Oddity:
    """An oddity of a server at one place.

    :param place: one of the :data:`.request.PLACES`.
    :param times: how often at most; ``None`` means always.
    """

    place: str = "anything"
    times: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether a client can still complete every task, so that only success is right."""
        return False

    @property
    def says_gone(self) -> bool:
        """Whether the server reports an existing object as missing, in the format of S3."""
        return False

    def manners(self, manners: Manners) -> None:
        """Change how the service behaves."""

    def page(self, page: Page) -> Page:
        """Return a page of a listing of this server."""
        return page

    def answer(self, request: Request, answer: Answer) -> Answer:
        """Return an answer of this server."""
        return answer


@dataclass(frozen=True)
class Header(Oddity):
    """A header is changed or repeated."""

    name: str = "ETag"
    change: str = "missing"

    @property
    def harmless(self) -> bool:
        return self.change.startswith("name in") or self.name in ("Accept-Ranges", "Content-Type")

    def answer(self, request: Request, answer: Answer) -> Answer:
        headers: list[tuple[str, str]] = []
        for name, value in answer.headers:
            if name.lower() != self.name.lower():
                headers.append((name, value))
            elif self.change == "twice":
                headers += [(name, value), (name, value)]
            elif self.change == "name in capitals":
                headers.append((name.upper(), value))
            elif self.change == "name in small letters":
                headers.append((name.lower(), value))
            else:
                changed = CHANGES[self.change](value)
                if changed is not None:
                    headers.append((name, changed))
        return replace(answer, headers=tuple(headers))


@dataclass(frozen=True)
class Length(Oddity):
    """The length of a body is not declared by one correct Content-Length."""

    told: str = CHUNKED

    def answer(self, request: Request, answer: Answer) -> Answer:
        if self.told in (CHUNKED, CLOSE):
            return replace(answer, framing=self.told)
        size = dict(answer.framing_headers(request.method)).get("Content-Length", "0")
        framed = {
            "twice": (("Content-Length", size), ("Content-Length", size)),
            "in two ways": (("Content-Length", size), ("Transfer-Encoding", "chunked")),
            "too long": (("Content-Length", str(int(size) + 7)), ("Connection", "close")),
            "too short": (("Content-Length", str(max(0, int(size) - 7))), ("Connection", "close")),
            "no number": (("Content-Length", "many"), ("Connection", "close")),
            "zero": (("Content-Length", "0"), ("Connection", "close")),
        }[self.told]
        framing = CHUNKED if self.told == "in two ways" else CLOSE if self.told in ("too short", "zero") else "length"
        return replace(answer, framed=framed, framing=framing)


@dataclass(frozen=True)
class Http(Oddity):
    """The head of an answer has a rare form."""

    form: str = "1.0"

    @property
    def harmless(self) -> bool:
        return True

    def answer(self, request: Request, answer: Answer) -> Answer:
        if self.form == "1.0":
            return replace(answer, version="1.0", framing=CLOSE if answer.framing == CHUNKED else answer.framing)
        if self.form == "no reason":
            return replace(answer, reason="")
        if self.form == "interim":
            return replace(answer, interim=(100, 102))
        if self.form == "close":
            return answer.with_headers(("Connection", "close"))
        if self.form == "many headers":
            return answer.with_headers(*((f"X-Filler-{number}", "x" * 70) for number in range(90)))
        if self.form == "foreign letters":
            return answer.with_headers(("X-Note", "größer 日本"))
        raise ValueError(self.form)


@dataclass(frozen=True)
class Instead(Oddity):
    """A foreign page, an error or nothing is in place of the answer.

    :param page: one of :data:`PAGES`, or the code of an S3 error.
    :param done: whether the request is still carried out.
    """

    status: int = 200
    body: str = "console"
    location: str = ""
    done: bool = False

    @property
    def harmless(self) -> bool:
        passes = (500, "InternalError"), (503, "SlowDown")
        return (self.status, self.body) in passes and self.times is not None and self.times <= 2

    @property
    def says_gone(self) -> bool:
        return self.status == 404 and (self.body.startswith("NoSuch") or self.place == "state")

    @property
    def _answer(self) -> Answer:
        if self.body in PAGES:
            kind = "text/html" if self.body == "console" else "text/plain"
            answer = Answer(self.status, (("Content-Type", kind),), PAGES[self.body])
        else:
            answer = error(self.status, self.body, "because \u202ethe policy\u202c\n says so")
        return answer.with_headers(("Location", self.location)) if self.location else answer

    @property
    def hides_all(self) -> bool:
        """Whether no client gets the server's own answer."""
        return self.place == "anything" and self.times is None and not self.done

    def instead(self) -> Answer | None:
        """Return the answer to a request that the server ignores."""
        return None if self.done else self._answer

    def answer(self, request: Request, answer: Answer) -> Answer:
        return replace(self._answer, length=None)


@dataclass(frozen=True)
class Cut(Oddity):
    """The connection ends early.

    :param at: ``start``, ``head`` or ``body`` of the answer.
    """

    at: str = "body"

    @property
    def harmless(self) -> bool:
        return self.times is not None and self.times <= 2

    def answer(self, request: Request, answer: Answer) -> Answer:
        whole = answer.on_the_wire(request.method)
        head = whole.find(b"\r\n\r\n") + 4
        return replace(answer, cut={"start": 0, "head": head // 2, "body": (head + len(whole)) // 2}[self.at])


@dataclass(frozen=True)
class Compressed(Oddity):
    """A proxy compresses the answers.

    :param polite: only when it is asked for, or nothing is said.
    """

    polite: bool = True

    @property
    def harmless(self) -> bool:
        return self.polite

    def answer(self, request: Request, answer: Answer) -> Answer:
        accepted = request.headers.get("accept-encoding", "gzip")
        if answer.status != 200 or not answer.body or (self.polite and "gzip" not in accepted):
            return answer
        zipped = replace(answer, body=gzip.compress(answer.body, mtime=0))
        return zipped.with_headers(("Content-Encoding", "gzip"))


@dataclass(frozen=True)
class Span(Oddity):
    """Content-Range differs from the request.

    :param told: ``star``, ``missing``, ``shifted``, ``another size`` or ``garbled``.
    """

    told: str = "star"

    def answer(self, request: Request, answer: Answer) -> Answer:
        span = answer.header("Content-Range")
        if span is None:
            return answer
        inside, _slash, size = span.rpartition("/")
        if self.told == "missing":
            return replace(answer, headers=tuple(pair for pair in answer.headers if pair[0] != "Content-Range"))
        changed = {
            "star": f"{inside}/*",
            "shifted": f"bytes 1-{size}/{size}",
            "another size": f"{inside}/{int(size) + 1}",
            "garbled": "bytes=?",
        }[self.told]
        return answer.with_headers(("Content-Range", changed))


@dataclass(frozen=True)
class Element(Oddity):
    """An element of a listing is changed, repeated or omitted.

    :param inside: whether it is one of the entries' elements.
    """

    name: str = "KeyCount"
    change: str = "missing"
    inside: bool = False

    @property
    def harmless(self) -> bool:
        return self.change == "missing" and self.name in ("Name", "Prefix", "KeyCount", "MaxKeys", "StorageClass")

    def page(self, page: Page) -> Page:
        if self.inside:
            return replace(page, entries=tuple(self._changed(entry) for entry in page.entries))
        return replace(page, told=self._changed(page.told))

    def _changed(self, elements: Elements) -> Elements:
        changed: list[tuple[str, str]] = []
        for name, value in elements:
            if name != self.name:
                changed.append((name, value))
            elif self.change == "twice":
                changed += [(name, value), (name, value)]
            else:
                new = CHANGES[self.change](value)
                if new is not None:
                    changed.append((name, new))
        return tuple(changed)


@dataclass(frozen=True)
class Listing(Oddity):
    """A listing has another order, repeated entries, or foreign entries."""

    form: str = "reversed"

    @property
    def harmless(self) -> bool:
        # A list with keys that nobody asked for may lack others, so that it is refused.
        return self.form not in ("another root", "one less than counted", "strangers")

    def page(self, page: Page) -> Page:
        entries = page.entries
        stranger = (("Key", "somebody/else"), ("LastModified", "2026-11-28T07:00:00.000Z"), ("Size", "1"))
        prefix = dict(page.told).get("Prefix", "")
        forms: dict[str, Callable[[], Page]] = {
            "reversed": lambda: replace(page, entries=entries[::-1]),
            "twice": lambda: replace(page, entries=entries + entries),
            "strangers": lambda: replace(page, entries=(stranger, *entries, stranger)),
            "folders": lambda: replace(page, entries=((("Key", prefix), ("Size", "0")), *entries)),
            "no namespace": lambda: replace(page, space=False),
            "another root": lambda: replace(page, root="ListBucketsResult"),
            "one less than counted": lambda: replace(page, entries=entries[:-1]),
            "elements in another order": lambda: replace(
                page, told=page.told[::-1], entries=tuple(entry[::-1] for entry in entries)
            ),
            "told after the entries": lambda: replace(page, told=(), more=page.told),
            "unknown elements": lambda: replace(
                page, told=(*page.told, ("Hint", "x")), entries=tuple((*entry, ("Owner", "x")) for entry in entries)
            ),
        }
        return forms[self.form]()


@dataclass(frozen=True)
class Manner(Oddity):
    """The service behaves differently (:class:`.service.Manners`)."""

    name: str = "space"
    value: object = "+"

    @property
    def harmless(self) -> bool:
        always = ("space", "empty_pages", "keeps_metadata", "wants_checksum", "hears_start_after", "page_size")
        return self.name in always

    def manners(self, manners: Manners) -> None:
        setattr(manners, self.name, self.value)


@dataclass(frozen=True)
class Etags(Oddity):
    """The ETag of an object changes in each answer."""

    def answer(self, request: Request, answer: Answer) -> Answer:
        if answer.header("ETag") is None:
            return answer
        return answer.with_headers(("ETag", f'"{id(answer):x}{id(request):x}"'))
