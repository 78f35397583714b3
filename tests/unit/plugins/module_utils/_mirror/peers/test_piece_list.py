# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import (
    LEAST_BLOB,
    LONGEST_PIECE,
    MOST_PIECES,
    PieceHasher,
    PieceList,
    PieceListError,
    has_pieces,
    piece_size_of,
)

MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB + 5)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def made(content=CONTENT, step=700_001):
    hasher = PieceHasher(DIGEST, len(content))
    for at in range(0, len(content), step):
        hasher.update(memoryview(content)[at : at + step])
    return hasher


def test_hasher_bytes_in_any_steps_gives_digest_of_each_piece():
    pieces = made().finish()
    assert pieces.digests == tuple(
        hashlib.sha256(CONTENT[at : at + MIB]).digest() for at in range(0, len(CONTENT), MIB)
    )
    assert pieces.bounds(3) == (3 * MIB, len(CONTENT))
    assert made().whole == DIGEST
    assert made(step=MIB).finish() == pieces


def test_parse_own_list_returns_it():
    pieces = made().finish()
    assert PieceList.parse(pieces.encoded(), DIGEST, len(CONTENT)) == pieces


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"digest": "sha256:" + "0" * 64},
        {"digest": 5},
        {"size": len(CONTENT) - 1},
        {"piece_size": 1},
        {"piece_size": 0},
        {"pieces": "00"},
        {"pieces": "zz"},
        {"pieces": None},
    ],
)
def test_parse_list_of_another_blob_is_refused(change):
    document = json.loads(made().finish().encoded())
    with pytest.raises(PieceListError):
        PieceList.parse(json.dumps({**document, **change}).encode(), DIGEST, len(CONTENT))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"[" * 1000, b"\xff\xfe"])
def test_parse_foreign_bytes_are_refused(content):
    with pytest.raises(PieceListError):
        PieceList.parse(content, DIGEST, len(CONTENT))


@pytest.mark.parametrize(
    "size, piece", [(1, 1), (1024 * MIB, 1), (1025 * MIB, 2), (4096 * MIB, 4), (65536 * MIB, 4), (65537 * MIB, 8)]
)
def test_piece_size_any_blob_has_few_pieces(size, piece):
    assert piece_size_of(size) == piece * MIB
    assert -(-size // piece_size_of(size)) <= MOST_PIECES


def test_blob_has_no_list_if_it_is_small_or_a_server_would_refuse_its_pieces():
    largest = LONGEST_PIECE * MOST_PIECES
    assert [has_pieces(size) for size in (LEAST_BLOB - 1, LEAST_BLOB, largest, largest + 1)] == [
        False,
        True,
        True,
        False,
    ]
    assert piece_size_of(largest) == LONGEST_PIECE
