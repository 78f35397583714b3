# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks run with small sizes, which only proves that they work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from depth import DEEP

BENCH = Path(__file__).resolve().parents[2] / "bench"
#: Those of the mirror; those of the fleet need minutes even when they are small. A quick run plays what has most peers.
CASES = ("download", "layers", "download-memory", "resume", "sync", "publish", "unchanged") if DEEP else ("download",)
TINY = ("--rounds", "1", "--blob", "40M", "--layers", "10", "--store", "4M", "--warm")


def test_bench_every_case_runs_and_writes_its_table(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(
        "before\n\n<!-- measured: download -->\nold\n<!-- end: download -->\n\n"
        "<!-- measured: by others -->\ntheirs\n<!-- end: by others -->\n"
    )
    done = subprocess.run(
        [sys.executable, str(BENCH), *CASES, *TINY, "--document", str(document)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = document.read_text()
    assert text.startswith("before\n\n<!-- measured: download -->\n\n## One blob of 40 MiB, verified\n")
    assert "old" not in text
    assert "theirs" in text
    for case in (*CASES, "machine"):
        possible = case != "download-memory" or os.geteuid() == 0
        assert text.count(f"<!-- measured: {case} -->") == possible
    assert "| ollama_s3_import | 1.00 |" in text
    assert "| ollama pull |" in text
