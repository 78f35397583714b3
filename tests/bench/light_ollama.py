# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama that answers at once, as a program of one file: `ollama serve` on nodes that have Python alone."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = {"name": "stub:latest", "model": "stub:latest", "digest": "0" * 64}
ANSWER = {
    "model": "stub:latest",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "Good morning."},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 3,
    "eval_count": 2,
}


class Handler(BaseHTTPRequestHandler):
    """What a worker asks of Ollama."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._send({"version": "0.24.0", "models": [MODEL]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send({"capabilities": ["completion"]} if self.path == "/api/show" else ANSWER)

    def _send(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    host, _colon, port = os.environ["OLLAMA_HOST"].rpartition(":")
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
