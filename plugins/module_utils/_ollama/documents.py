# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""JSON documents as Ollama's API has them: read strictly, and written so that a server can read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from .api_errors import UnsendableRequestError
from .json_text import MAX_LEVELS, read_json

#: Levels of a document. An answer to a requester puts some around it, and must not have too many then.
MAX_DOCUMENT_LEVELS = MAX_LEVELS - 4


def read_object(content: bytes) -> Optional[dict[str, Any]]:
    """Return the JSON object that a content is; None when the content is something else.

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
        raise _unsendable("it has half of a surrogate pair in it, which is not a character") from error
    except RecursionError as error:
        raise _unsendable("it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise _unsendable("it has a value in it that JSON does not have, or a number that is too long") from error


def _unsendable(why: str) -> UnsendableRequestError:
    return UnsendableRequestError(f"The request cannot be sent to Ollama: {why}", remedy="Correct the request")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: to make one takes longer than to use it on most documents.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
