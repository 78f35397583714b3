# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Lists of objects, read from the server's XML and trusted only if they are complete.

A prune removes each blob that no listed manifest names. Servers write keys in different ways (a space is ``+`` on AWS
and MinIO, ``%20`` on others, a space on VersityGW), some give no token for the next page, and proxies answer in their
place. So a list that may be incomplete ends with a :class:`ListError`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, NamedTuple, Optional
from urllib.parse import unquote, unquote_plus

from ..._ollama.text import printable
from ..errors import ListError

#: The most pages in a row without a new key. A server that hides deleted objects may send some.
_IDLE_PAGES = 100

#: The most keys of one list. A mirror of 10,000 models has fewer; the limit ends a list that never ends itself.
_MOST_KEYS = 2_000_000

#: The characters that no server's URL encoding changes, and the escapes that URL encoding makes.
_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~*'()!/+-]|%[0-9A-Fa-f]{2})*")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class Entry(NamedTuple):
    """The description of one object in a list.

    :param key: the whole key, decoded.
    :param size: in bytes; ``None`` if the server sends none or an invalid one.
    :param etag: empty if the server sends none.
    :param modified: the time of the last write; ``None`` if the server sends none or an invalid one.
    """

    key: str
    size: Optional[int]
    etag: str
    modified: Optional[datetime]


@dataclass(frozen=True)
class ListPage:
    """One page of a list, with keys and prefix as the server encoded them.

    :param prefix: the prefix that the server reports.
    :param encoding: the encoding that the server reports.
    :param truncated: whether more pages follow; ``None`` if the server does not report it.
    :param token: the continuation token of the next page; empty if there is none.
    :param count: the number of entries that the server reports.
    """

    entries: tuple[Entry, ...]
    prefix: str = ""
    encoding: str = ""
    truncated: Optional[bool] = None
    token: str = ""
    count: Optional[int] = None


def read_page(content: bytes) -> Optional[ListPage]:
    """Read an answer to ListObjectsV2; return ``None`` if it is not a list."""
    from xml.etree import ElementTree

    try:
        # The server is trusted with the models, and expat limits the size of entities.
        root = ElementTree.fromstring(content)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        return None

    def text(element: ElementTree.Element, name: str) -> str:
        return element.findtext(f"{{*}}{name}", "") or ""

    truncated = text(root, "IsTruncated").strip().lower()
    return ListPage(
        tuple(
            Entry(
                text(entry, "Key"),
                _number(text(entry, "Size")),
                text(entry, "ETag").strip(),
                _moment(text(entry, "LastModified")),
            )
            for entry in root.iterfind("{*}Contents")
        ),
        text(root, "Prefix"),
        text(root, "EncodingType").strip().lower(),
        {"true": True, "false": False}.get(truncated),
        text(root, "NextContinuationToken").strip(),
        _number(text(root, "KeyCount")),
    )


class ObjectList:
    """All objects whose keys begin with a prefix.

    :param ask: takes a continuation token and a key, one or both empty; returns the page of that token, or
        the page that begins after that key, or the first page; ``None`` if the server's answer is not a list.
    :param server: the server, as messages name it.
    :param url: the prefix, as messages name it.
    """

    def __init__(self, prefix: str, ask: Callable[[str, str], Optional[ListPage]], server: str, url: str) -> None:
        self._prefix = prefix
        self._ask = ask
        self._server = server
        self._url = url
        self._seen: set[str] = set()
        self._tokens: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        """Yield every object once.

        :raises ListError: as soon as the list may be incomplete; the objects so far are only a part of it.
        """
        token, after, idle = "", "", 0
        while True:
            page = self._ask(token, after)
            if page is None:
                raise self._error(
                    f"{self._server} answers with something that is not a list of objects",
                    "Set endpoint_url to the S3 API of the server; a web page or a proxy answers there",
                )
            fresh = self._fresh(page)
            yield from fresh
            idle = 0 if fresh else idle + 1
            if idle > _IDLE_PAGES or len(self._seen) > _MOST_KEYS:
                raise self._endless()
            if page.truncated is False and (not page.token or not fresh or page.token in self._tokens):
                return
            if page.truncated is None and not page.entries and not page.token:
                return
            token = page.token
            if token in self._tokens:
                raise self._endless()
            if token:
                self._tokens.add(token)
            else:
                after = self._last(page, fresh, after)

    def _fresh(self, page: ListPage) -> list[Entry]:
        """Return the entries of a page that no earlier page had, with decoded keys."""
        if page.count is not None and page.count > len(page.entries):
            raise self._error(
                f"{self._server} counts {page.count} objects in a page of the list, and the page has"
                f" {len(page.entries)}",
                "Look for a proxy that truncates answers, or an error in the S3 server's log",
            )
        decode = self._decoder(page)
        fresh = []
        for entry in page.entries:
            key = decode(entry.key)
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(entry._replace(key=key))
        return fresh

    def _decoder(self, page: ListPage) -> Callable[[str], str]:
        """Return the function that decodes the server's keys: the one whose results begin with the requested prefix."""
        keys = [entry.key for entry in page.entries]
        raw = [page.prefix, *keys]
        encoded = all(_ENCODED.fullmatch(text) for text in raw) and any(_ESCAPE.search(text) for text in raw)
        # A server that writes a space as + escapes a plus sign; a server that writes a space as %20 does not.
        ways = (unquote, unquote_plus) if any("%20" in text for text in raw) else (unquote_plus, unquote)
        decoders: tuple[Callable[[str], str], ...]
        decoders = (*ways, str) if encoded or page.encoding == "url" else (str, *ways)
        fitting = [way for way in decoders if all(key and way(key).startswith(self._prefix) for key in keys)]
        agreeing = [way for way in fitting if not page.prefix or way(page.prefix) == self._prefix]
        if agreeing or (fitting and keys):
            return (agreeing or fitting)[0]
        raise self._error(
            f"{self._server} was asked for keys that begin with {printable(self._prefix)!r},"
            f" and lists {printable(keys[0] if keys else page.prefix)!r}",
            "Use a prefix of letters, digits, hyphens and single slashes; otherwise the S3 server or a proxy before it"
            " does not honour the prefix of a list",
        )

    def _last(self, page: ListPage, fresh: list[Entry], after: str) -> str:
        """Return the key after which the next page begins, if there is no token for it."""
        keys = [key.encode("utf-8", "surrogatepass") for key in (after, *(entry.key for entry in fresh))]
        if not fresh or len(fresh) < len(page.entries) or keys != sorted(keys):
            # The server sends the same page again, or unordered keys: nobody can know which keys are missing.
            raise self._error(
                f"{self._server} lists {len(self._seen)} objects, says that there may be more, and gives no token to"
                " ask for them",
                "Update the S3 server: it must give NextContinuationToken, or honour start-after, in ListObjectsV2",
            )
        return fresh[-1].key

    def _endless(self) -> ListError:
        return self._error(
            f"{self._server} sends the same part of the list again and again",
            "Update the S3 server, or look for a proxy before it that caches answers",
        )

    def _error(self, what: str, remedy: str) -> ListError:
        return ListError(f"Could not list {self._url}: {what}", remedy=remedy, endpoint=self._server)


def _number(text: str) -> Optional[int]:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def _moment(text: str) -> Optional[datetime]:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return None
