# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The call to the gateway in the first tutorial, word for word."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).resolve().parents[3] / "docs" / "tutorial-one-node.md"


def test_tutorial_call_is_answered(real: Any) -> None:
    (written,) = re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert "http://127.0.0.1:11435" in written
    command = ["bash", "-euo", "pipefail", "-c", written.replace("http://127.0.0.1:11435", real.url)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    (choice,) = json.loads(done.stdout)["choices"]
    # Without a temperature, this interface of Ollama sets 1.0, and such a small model does not always know the city.
    assert choice["message"]["content"].strip(), done.stdout
