# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the fleet all the time, and count: steady_load.py FILE URL QUEUE [OPTIONS]

Asks until FILE is gone, one request every so often, whatever becomes of those before, as requesters do who know nothing
of each other. Then it waits for the answers that are missing, prints what it counted, and fails if a request was lost,
or doubled without need, if too few were asked, or if no answer came for too long. URL is of pika: amqp[s]://user:password@host/vhost[?ssl_options=...];
with --password-file, {} in it stands for the password.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from urllib.parse import quote

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lab"), str(TESTS / "faults" / "fleet"), str(TESTS.parent / "roles/fleet_worker/files")]

from asking import Asker  # noqa: E402

#: Seconds for the answers that are missing when the load has ended.
_PATIENCE = 300.0


class Place:
    """What an asker wants to know of a broker."""

    def __init__(self, url: str) -> None:
        self.amqp_url = url


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("--every", type=float, default=0.5)
    parser.add_argument("--least", type=int, default=10)
    parser.add_argument("--longest-gap", type=float, default=60.0, help="seconds without an answer that may be")
    parser.add_argument("--password-file", type=Path)
    options = parser.parse_args()
    url = options.url.replace(
        "{}", quote(options.password_file.read_text(), safe="") if options.password_file else "{}"
    )
    asker = Asker(Place(url), options.queue, expiration=str(int(_PATIENCE * 2000)))
    while options.file.exists():
        asker.ask(options={"num_predict": 2})
        asker.collect()
        time.sleep(options.every)
    try:
        asker.wait(within=_PATIENCE)
    except AssertionError as error:
        print(error)
        asker.record.complete = True  # what has not come now never comes
    asker.remove_replies()
    verdict = asker.record.verdict()
    print(verdict)
    failed = sum("error" in str(answers[0][0].type) for answers in asker.answers.values())
    print(f"{failed} of the answers are errors")
    idle = verdict.longest_gap > options.longest_gap
    return 1 if verdict.findings or failed or idle or verdict.sent < options.least else 0


if __name__ == "__main__":
    sys.exit(main())
