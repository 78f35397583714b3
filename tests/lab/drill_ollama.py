# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama of the drill hosts that has some models and takes as long for every answer.

usage: drill_ollama.py PORT SECONDS MODEL...
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers what a worker asks."""

    protocol_version = "HTTP/1.1"
    seconds = 0.0
    models: tuple[str, ...] = ()

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        models = [{"name": name, "model": name, "digest": "0" * 64} for name in self.models]
        self._send({"version": "0.24.0", "models": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            self._send({"capabilities": ["completion"]})
            return
        time.sleep(self.seconds)
        message = {"role": "assistant", "content": "Good morning."}
        counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
        self._send({"model": body["model"], "message": message, **counts})

    def _send(self, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    Handler.seconds = float(sys.argv[2])
    Handler.models = tuple(name if ":" in name else f"{name}:latest" for name in sys.argv[3:])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
