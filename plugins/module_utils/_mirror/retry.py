# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The decisions on retries: which failed requests are sent again, how often, and after how long.

Code that sends requests takes the decision here and does the waiting itself. There are five levels of retries, and each
level repeats only what the level below cannot repeat. The SDK repeats a request, but not the read of its response. The
reads of objects, ranges and pieces continue after a broken response. An upload to an Ollama server starts from the
beginning.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .._ollama.api_errors import OllamaError
from .._ollama.errors import CollectionError
from .._ollama.retry import RetryPolicy
from .errors import MirrorBusyError, MirrorUnreachableError, NotS3Error, ObjectChangedError


@dataclass(frozen=True)
class MirrorRetry:
    """The retries of one kind of read from the mirror.

    :ivar errors: errors after which another attempt may succeed.
    :ivar attempts: the number of failures in a row that end the read.
    :ivar longest_pause: the longest pause between two attempts in seconds.
    :ivar least_share: pauses are a random share of 1, 2, 4 ... seconds, at least this share.
    """

    errors: tuple[type[CollectionError], ...]
    attempts: int
    longest_pause: float
    least_share: float = 0.0

    def covers(self, error: CollectionError) -> bool:
        """Return whether another attempt may succeed after an error."""
        return isinstance(error, self.errors)

    def is_final(self, failures: int, *, requests: int = 1) -> bool:
        """Return whether a failure ends the read.

        :param failures: the number of failures in a row, including this one.
        :param requests: the number of requests that run at the same time and count their failures together.
        """
        return failures >= self.attempts * requests

    def pause(self, failures: int) -> float:
        """Return the seconds until the next attempt, random so that nodes do not return at the same moment."""
        longest = min(2.0 ** (failures - 1), self.longest_pause)
        return random.uniform(self.least_share * longest, longest)  # noqa: S311


#: Attempts of one request of the SDK, the first included. Between two attempts, botocore's mode "standard" waits a
#: random part of 1, 2, 4 and so on, up to 20 seconds.
SDK_ATTEMPTS = 5
SDK_RETRIES = {"total_max_attempts": SDK_ATTEMPTS, "mode": "standard"}

#: The read of a small object whose response breaks off. The SDK has already repeated the request.
OBJECT_READS = MirrorRetry((MirrorUnreachableError,), attempts=4, longest_pause=1.0)

#: The read of a range. A received byte resets the count of failures.
RANGE_READS = MirrorRetry((MirrorUnreachableError, MirrorBusyError, NotS3Error), attempts=6, longest_pause=20.0)

#: The read of a piece, while neighbours may have the piece, too. A piece from the mirror resets the count of failures.
PIECE_READS = MirrorRetry((*RANGE_READS.errors, ObjectChangedError), attempts=6, longest_pause=10.0, least_share=0.5)

#: How often an object may be replaced during the read of its ranges; one more replacement is an error.
REPLACEMENTS = 3


def is_upload_repeated(error: CollectionError, policy: RetryPolicy, *, failures: int) -> bool:
    """Return whether a failed upload of blobs to an Ollama server starts again.

    A blob may be uploaded twice, because its name is its digest.

    :param policy: the user's options for requests to that server.
    """
    return isinstance(error, OllamaError) and policy.retries_after(error, failures=failures, repeatable=True)
