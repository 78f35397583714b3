# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of objects: what servers write in them, and when they are whole."""

from __future__ import annotations

from datetime import datetime, timezone
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import ListError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_list import Entry, ObjectList, read_page
from hypothesis import given
from hypothesis import strategies as st

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ENCODINGS = {
    "a space is a plus sign": lambda text: quote_plus(text, safe="/*"),
    "a space is an escape, a plus sign is itself": lambda text: quote(text, safe="/+~"),
    "every other character is an escape": lambda text: quote(text, safe=""),
    "nothing is encoded": str,
}


def page(
    *keys, prefix=None, truncated="false", token="", encoding="url", encode=ENCODINGS["nothing is encoded"], **more
):
    """Return the XML of a page; ``None`` leaves an element out."""

    def element(name, text):
        return "" if text is None else f"<{name}>{escape(text)}</{name}>"

    entries = "".join(
        "<Contents>"
        + element("Key", encode(key))
        + element("LastModified", more.get("modified", "2026-11-25T10:30:59.000Z"))
        + element("ETag", more.get("etag", '"e"'))
        + element("Size", more.get("size", "3"))
        + "</Contents>"
        for key in keys
    )
    head = element("Prefix", prefix if prefix is None else encode(prefix)) + element("EncodingType", encoding)
    tail = element("IsTruncated", truncated) + element("NextContinuationToken", token or None)
    tail += element("KeyCount", more.get("count"))
    space = more.get("space", SPACE)
    return f"<ListBucketResult{space}>{head}{entries}{tail}</ListBucketResult>".encode()


class Server:
    """Answers with pages that lie ready, by token or by the key before."""

    def __init__(self, pages):
        self.pages = pages
        self.asked = []

    def ask(self, token, after):
        self.asked.append((token, after))
        assert len(self.asked) < 1000, "the list is asked for without an end"
        found = self.pages.get((token, after), self.pages.get("else", b""))
        return read_page(found(len(self.asked)) if callable(found) else found)

    def keys(self, prefix="p/"):
        return [entry.key for entry in ObjectList(prefix, self.ask, "http://s3.lab", "s3://models/p/")]


def test_read_page_entry_has_the_servers_values():
    moment = datetime(2026, 11, 25, 10, 30, 59, tzinfo=timezone.utc)
    for space in ("", SPACE):
        assert read_page(page("k", space=space)).entries == (Entry("k", 3, '"e"', moment),)


@pytest.mark.parametrize("size", [None, "", "many", "-1", "9" * 30])
@pytest.mark.parametrize("modified", [None, "", "yesterday"])
def test_read_page_missing_or_nonsensical_value_is_none(size, modified):
    assert read_page(page("k", size=size, modified=modified, etag=None)).entries == (Entry("k", None, "", None),)


@pytest.mark.parametrize(
    "content", [b"", b"<html/>", b"<ListBucketResult", b"\xff\xfe", b"<Error><Code>x</Code></Error>"]
)
def test_read_page_other_document_is_none(content):
    assert read_page(content) is None
    with pytest.raises(ListError, match="not a list of objects"):
        Server({("", ""): content}).keys()


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=list(ENCODINGS))
@pytest.mark.parametrize("encoding", ["url", "", None])
@pytest.mark.parametrize("prefix", ["my models/", "a+b/", "50%25/", "p/", "ä ö/", ""])
@pytest.mark.parametrize("echoed", [True, False])
def test_list_keys_are_decoded_as_the_server_encoded_them(encode, encoding, prefix, echoed):
    keys = [f"{prefix}manifests/{host}/library/x/latest" for host in ("registry.ollama.ai", "localhost:5000")]
    content = page(*keys, prefix=prefix if echoed else None, encoding=encoding, encode=encode)
    assert Server({("", ""): content}).keys(prefix) == keys


@given(
    st.text("abAB01 +%/:-_.~é", min_size=1, max_size=12).filter(lambda text: set(text) & set(" +")),
    st.sampled_from(list(ENCODINGS.values())[:3]),
)
def test_list_prefix_with_a_space_or_a_plus_sign_shows_the_encoding(prefix, encode):
    key = f"{prefix}/manifests/localhost:5000/library/x/latest"
    assert Server({("", ""): page(key, prefix=prefix, encode=encode)}).keys(prefix) == [key]


def test_list_of_another_prefix_is_an_error():
    with pytest.raises(ListError, match="begin with 'p/'") as caught:
        Server({("", ""): page("q/a", prefix="p/")}).keys()
    assert "s3://models/p/" in caught.value.message
    with pytest.raises(ListError):
        Server({("", ""): page(prefix="other/")}).keys()


def test_list_entry_without_a_key_is_an_error():
    with pytest.raises(ListError):
        Server({("", ""): page("p/a", "")}).keys()


def test_list_pages_follow_each_other_by_token():
    server = Server({("", ""): page("p/a", truncated="true", token="n"), ("n", ""): page("p/b")})
    assert server.keys() == ["p/a", "p/b"]


@pytest.mark.parametrize("truncated", ["true", "True", " TRUE ", "1", "", None])
def test_list_without_a_token_continues_after_the_last_key(truncated):
    first = page("p/a", "p/b", truncated=truncated)
    rest = page("p/c", truncated=truncated)
    server = Server({("", ""): first, ("", "p/b"): rest, ("", "p/c"): page()})
    assert server.keys() == ["p/a", "p/b", "p/c"]


@pytest.mark.parametrize("truncated", ["true", None])
def test_list_first_page_again_and_again_is_an_error(truncated):
    with pytest.raises(ListError, match="no token"):
        Server({"else": page("p/a", "p/b", truncated=truncated)}).keys()


def test_list_unordered_keys_without_a_token_are_an_error():
    with pytest.raises(ListError, match="no token"):
        Server({("", ""): page("p/b", "p/a", truncated="true"), "else": page()}).keys()
    with pytest.raises(ListError, match="no token"):
        Server({("", ""): page("p/b", truncated="true"), "else": page("p/a", truncated="true")}).keys()


def test_list_token_that_returns_is_an_error():
    pages = {"else": lambda number: page(f"p/{number}", truncated="true", token=str(number % 3))}
    with pytest.raises(ListError, match="again and again"):
        Server(pages).keys()


def test_list_pages_without_new_keys_end_in_an_error():
    pages = {"else": lambda number: page("p/a", truncated="true", token=str(number))}
    with pytest.raises(ListError, match="again and again"):
        Server(pages).keys()


def test_list_overlapping_pages_give_every_key_once():
    server = Server({("", ""): page("p/a", "p/b", truncated="true", token="n"), ("n", ""): page("p/b", "p/c")})
    assert server.keys() == ["p/a", "p/b", "p/c"]


def test_list_empty_page_before_more_pages_is_not_the_end():
    server = Server({("", ""): page(truncated="true", token="n"), ("n", ""): page("p/b")})
    assert server.keys() == ["p/b"]


def test_list_token_on_the_last_page_is_followed():
    server = Server({("", ""): page("p/a", token="n"), ("n", ""): page("p/b", token="n")})
    assert server.keys() == ["p/a", "p/b"]


def test_list_fewer_entries_than_the_server_counts_are_an_error():
    with pytest.raises(ListError, match="counts 3 objects"):
        Server({("", ""): page("p/a", "p/b", count="3")}).keys()


@pytest.mark.parametrize("count", ["2", "1", "0", "", "nonsense", None])
def test_list_other_counts_are_ignored(count):
    assert Server({("", ""): page("p/a", "p/b", count=count)}).keys() == ["p/a", "p/b"]
