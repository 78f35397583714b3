# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exit codes of ``fleet-worker``; 0 is success."""

from __future__ import annotations

#: The process cannot go on; systemd starts it again.
EXIT_BROKEN = 1
#: ``check-config`` has found problems.
EXIT_PROBLEMS = 2
#: ``status``: the worker answers, and is not ready.
EXIT_NOT_READY = 3
#: The configuration is wrong (sysexits.h EX_CONFIG). A restart does not help, so the units have
#: RestartPreventExitStatus=78.
EXIT_CONFIG = 78
