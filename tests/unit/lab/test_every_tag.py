# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drills read from the output of ansible-playbook."""

from __future__ import annotations

from every_tag import Run, plain

RECAP = (
    "\x1b[0;33mnode1\x1b[0m : \x1b[0;32mok=114 \x1b[0m \x1b[0;33mchanged=4   \x1b[0m unreachable=0    failed=0\n"
    "\x1b[0;33mnode2\x1b[0m : \x1b[0;32mok=114 \x1b[0m \x1b[0;33mchanged=3   \x1b[0m unreachable=0    failed=0\n"
)


def test_changes_of_all_hosts_are_counted_in_coloured_output() -> None:
    assert Run(0, plain(RECAP), 1.0).changed == 7


def test_message_of_a_failure_is_found_in_coloured_output() -> None:
    output = "\x1b[0;31m[ERROR]: Task failed: the key is unknown\x1b[0m\n\x1b[0;31mOrigin: a file\x1b[0m\n"
    assert Run(2, plain(output), 1.0).message == "Task failed: the key is unknown"
