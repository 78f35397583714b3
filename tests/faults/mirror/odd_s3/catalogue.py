# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All oddities, as a list for single tests, and as a strategy that combines them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from .oddities import Compressed, Cut, Element, Etags, Header, Http, Instead, Length, Listing, Manner, Oddity, Span

_TEXT_CHANGES = ("missing", "empty", "blanks", "garbled", "hostile", "twice", "upper")


def _headers() -> Iterator[Oddity]:
    for place in ("state", "content", "anything"):
        for change in (*_TEXT_CHANGES, "weak", "unquoted", "name in capitals", "name in small letters"):
            yield Header(place, name="ETag", change=change)
    for name, change in itertools.product(("Last-Modified", "x-amz-meta-sha256"), _TEXT_CHANGES):
        yield Header("anything", name=name, change=change)
    for name in ("Accept-Ranges", "Content-Type"):
        yield Header("anything", name=name, change="missing")
    for name in ("Content-Type", "Content-Range", "Last-Modified"):
        yield Header("anything", name=name, change="name in capitals")
        yield Header("anything", name=name, change="name in small letters")
    for place in ("write", "part"):
        yield Header(place, name="ETag", change="missing")
    yield Etags("anything")
    yield from (Span("blob", told=told) for told in ("star", "missing", "shifted", "another size", "garbled"))


def _framing() -> Iterator[Oddity]:
    told = ("chunked", "close", "twice", "in two ways", "too long", "too short", "no number", "zero")
    places = ("state", "manifest", "blob", "listing", "write", "anything")
    yield from (Length(place, told=how) for place, how in itertools.product(places, told))
    forms = ("1.0", "no reason", "interim", "close", "many headers", "foreign letters")
    yield from (Http("anything", form=form) for form in forms)
    places = ("manifest", "blob", "listing", "content", "anything")
    yield from (Compressed(place, polite=polite) for place, polite in itertools.product(places, (True, False)))
    places = ("state", "manifest", "blob", "listing", "upload", "part", "completion", "write", "removal")
    yield from (Cut(place, at=at) for place, at in itertools.product(places, ("start", "head")))
    yield from (Cut(place, at="body") for place in ("manifest", "blob", "listing", "upload", "completion"))


_PLACES = (
    "anything",
    "listing",
    "state",
    "manifest",
    "one manifest",
    "blob",
    "write",
    "upload",
    "part",
    "completion",
    "removal",
)
_CODES = (
    (301, "PermanentRedirect"),
    (400, "InvalidRequest"),
    (400, "ExpiredToken"),
    (403, "AccessDenied"),
    (403, "InvalidObjectState"),
    (403, "SignatureDoesNotMatch"),
    (403, "QuotaExceeded"),
    (404, "NoSuchBucket"),
    (404, "NoSuchUpload"),
    (405, "MethodNotAllowed"),
    (412, "PreconditionFailed"),
    (500, "InternalError"),
    (503, "SlowDown"),
    (599, "Hostile\u202e"),
)
_STATUSES = (200, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 407, 408)
_STATUSES += (411, 413, 416, 429, 500, 502, 504, 999)


def _others() -> Iterator[Oddity]:
    for place, body in itertools.product(_PLACES, ("console", "nothing", "half of an XML", "another XML", "bytes")):
        if body != "nothing" or "manifest" not in place:  # looks the same as an object without content
            yield Instead(place, body=body)
    for place, (status, code) in itertools.product(_PLACES, _CODES):
        yield Instead(place, status=status, body=code)
    for place, status in itertools.product(_PLACES, _STATUSES):
        yield Instead(place, status=status, body="proxy")
        if status != 200:
            yield Instead(place, status=status, body="nothing")
    for place, status in itertools.product(("anything", "listing", "manifest", "write"), (301, 302, 307, 308)):
        for location in ("https://s3.example.com/", "/", "//", "http://127.0.0.1:1/x", "\u202e"):
            yield Instead(place, status=status, location=location)
    for place in ("write", "upload", "part", "completion", "removal"):
        yield Instead(place, status=500, body="InternalError", done=True)
        yield Instead(place, status=500, body="InternalError", done=True, times=1)
        yield Instead(place, status=200, body="InternalError")
        yield Cut(place, at="start", times=1)


def _listings() -> Iterator[Oddity]:
    changes = (*_TEXT_CHANGES, "negative", "huge", "hex")
    for name, change in itertools.product(("Key", "LastModified", "ETag", "Size", "StorageClass"), changes):
        if change != "upper" or name in ("Key", "ETag"):
            yield Element("listing", name=name, change=change, inside=True)
    for name, change in itertools.product(("Name", "Prefix", "KeyCount", "MaxKeys"), changes):
        if change != "upper" or name in ("Name", "Prefix"):
            yield Element("listing", name=name, change=change)
    forms = ("reversed", "twice", "strangers", "folders", "no namespace", "another root", "one less than counted")
    for form in (*forms, "elements in another order", "told after the entries", "unknown elements"):
        yield Listing("listing", form=form)
    yield Manner(name="space", value="+")
    yield Manner(name="says_encoding", value=False)


#: What changes how pages follow each other; nothing without a small page.
_FOLLOWING: tuple[tuple[Oddity, ...], ...] = (
    (),
    (Manner(name="tokens", value="missing"),),
    (Manner(name="tokens", value="missing"), Manner(name="hears_start_after", value=False)),
    (Manner(name="tokens", value="stuck"),),
    (Manner(name="old_listing", value=True),),
    (Manner(name="empty_pages", value=True),),
    (Listing("listing", form="reversed"),),
    (Listing("listing", form="twice"),),
    (Instead("listing", status=500, body="InternalError", times=1),),
    *(
        (Element("listing", name=name, change=change),)
        for name, change in itertools.product(
            ("NextContinuationToken", "IsTruncated"), ("missing", "empty", "garbled", "hostile", "twice", "upper")
        )
    ),
)


def _pages() -> Iterator[tuple[Oddity, ...]]:
    for size, following in itertools.product((2, 4), _FOLLOWING):
        yield (Manner(name="page_size", value=size), *following)


def _uploads() -> Iterator[tuple[Oddity, ...]]:
    refusals = Instead("abort", status=403, body="AccessDenied"), Instead("abort", status=404, body="NoSuchUpload")
    for place, refusal in itertools.product(("part", "completion"), refusals):
        yield (Instead(place, status=403, body="QuotaExceeded"), refusal)
        yield (Cut(place, at="start"), refusal)
    yield (Manner(name="keeps_metadata", value=False), Manner(name="wants_checksum", value=True))


def _manners() -> Iterator[Oddity]:
    yield Manner(name="own_etags", value=False)
    yield Manner(name="ranges", value=False)
    yield Manner(name="keeps_metadata", value=False)
    yield Manner(name="wants_checksum", value=True)
    yield from (Manner(name="absent_is", value=value) for value in ((403, "AccessDenied"), (404, "404"), (200, "OK")))


_FAMILIES: tuple[tuple[tuple[Oddity, ...], ...], ...] = (
    tuple((oddity,) for oddity in _headers()),
    tuple((oddity,) for oddity in _framing()),
    tuple((oddity,) for oddity in _others()),
    tuple((oddity,) for oddity in _listings()),
    tuple(_pages()),
    tuple(_uploads()),
    tuple((oddity,) for oddity in _manners()),
)

#: Each of them alone.
CATALOGUE: tuple[tuple[Oddity, ...], ...] = tuple(itertools.chain(*_FAMILIES))


def _sometimes(drawn: tuple[tuple[Oddity, ...], int | None]) -> tuple[Oddity, ...]:
    oddities, times = drawn
    fixed = any(isinstance(oddity, Manner) or oddity.times for oddity in oddities)
    return oddities if fixed else tuple(dataclasses.replace(oddity, times=times) for oddity in oddities)


#: What is odd at once: one oddity of a family at times, or always.
_one = st.tuples(
    st.one_of([st.sampled_from(family) for family in _FAMILIES]), st.sampled_from([None, None, None, 1, 2, 3])
).map(_sometimes)

odd_servers = st.lists(_one, min_size=1, max_size=3).map(lambda parts: tuple(itertools.chain(*parts)))
