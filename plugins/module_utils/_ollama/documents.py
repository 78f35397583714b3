# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""JSON documents of Ollama's API: strict reading and valid writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from .api_errors import UnsendableRequestError
from .json_text import MAX_LEVELS, read_json

#: The most levels of a document. The answer to a requester adds some levels, and has the same limit.
MAX_DOCUMENT_LEVELS = MAX_LEVELS - 4


def read_object(content: bytes) -> Optional[dict[str, Any]]:
    """Return the JSON object in a content; None for any other content.

    NaN and Infinity are not JSON. A document of more than :data:`MAX_DOCUMENT_LEVELS` levels, or with an integer of
    thousands of digits, never comes from Ollama.
    """
    try:
        found = read_json(content, _DECODER, MAX_DOCUMENT_LEVELS)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def write_object(document: Mapping[str, Any]) -> bytes:
    """Return a document as the body of a request.

    :raises UnsendableRequestError: when the document cannot be written as JSON in UTF-8.
    """
    try:
        return _ENCODER.encode(document).encode()
    except UnicodeEncodeError as error:
        raise _unsendable("it contains a lone surrogate, which is not a character") from error
    except RecursionError as error:
        raise _unsendable("it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise _unsendable("it contains a value that JSON does not have, or a number that is too long") from error


def _unsendable(why: str) -> UnsendableRequestError:
    return UnsendableRequestError(f"The request cannot be sent to Ollama: {why}", remedy="Correct the request")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Created once, because creating one takes longer than reading or writing most documents.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
