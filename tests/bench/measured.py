# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module of the collection as Ansible would start it, and tell what it took beside the time.

usage: measured.py REPORT MODULE     (the module's arguments come on standard input, as JSON)
REPORT gets, as JSON: the seconds that it waited for fsync, and the peak of its resident memory in bytes.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
import time
from typing import Callable

_lock = threading.Lock()
_waits: list[float] = []


def _watched(sync: Callable[[int], None]) -> Callable[[int], None]:
    def call(descriptor: int) -> None:
        start = time.perf_counter()
        try:
            sync(descriptor)
        finally:
            with _lock:
                _waits.append(time.perf_counter() - start)

    return call


def _peak() -> int:
    with open("/proc/self/status") as file:
        kib = next(line.split()[1] for line in file if line.startswith("VmHWM:"))
    return int(kib) * 1024


def main() -> None:
    report, module = sys.argv[1:]
    os.fsync, os.fdatasync = _watched(os.fsync), _watched(os.fdatasync)  # type: ignore[assignment]
    sys.argv = [module]
    try:
        runpy.run_module(f"ansible_collections.legionio.ollama.plugins.modules.{module}", run_name="__main__")
    finally:
        with open(report, "w") as file:
            json.dump({"fsync": sum(_waits), "peak": _peak()}, file)


if __name__ == "__main__":
    main()
