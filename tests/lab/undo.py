# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that run when this process ends, even if it is killed.

A test run that is killed with -9 cannot tidy up after itself. So a helper process of its own session reads what would
have to be undone from a pipe, and does what is left of it, last first, when the pipe closes.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Optional


class UndoList:
    """Starts the helper with the first entry. Safe to use from several threads."""

    def __init__(self) -> None:
        self._helper: Optional[subprocess.Popen[str]] = None
        self._lock = threading.Lock()

    def add(self, *command: str) -> tuple[str, ...]:
        """Note a command; the return value is what `drop` takes."""
        self._send("add", command)
        return command

    def drop(self, command: tuple[str, ...]) -> None:
        """Remove a command that is no longer needed."""
        self._send("drop", command)

    def _send(self, verb: str, command: tuple[str, ...]) -> None:
        with self._lock:
            if self._helper is None:
                # Not in the terminal's process group: Ctrl-C is for the tests, not for what tidies up after them.
                self._helper = subprocess.Popen(
                    [sys.executable, __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            if self._helper.stdin is None:
                raise RuntimeError("the helper has no pipe")
            self._helper.stdin.write(json.dumps([verb, *command]) + "\n")
            self._helper.stdin.flush()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left: list[list[str]] = []
    for line in sys.stdin:
        verb, *command = json.loads(line)
        if verb == "add":
            left.append(command)
        elif command in left:
            left.remove(command)
    for command in reversed(left):
        subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
