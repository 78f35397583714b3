# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the server: ``python3 -m blob_server CONFIG``; the role ollama_models writes CONFIG, as JSON."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any, Optional

from ._mirror.peers.signature import SHORTEST_SECRET, RequestSigner
from ._ollama.errors import CollectionError
from ._ollama.json_text import read_json
from .busy_worker import BusyWorker
from .http_server import BlobServer
from .library import Library

#: The exit status for an error that a restart does not fix (sysexits.h, EX_CONFIG).
EXIT_CONFIG = 78


def main(arguments: list[str]) -> int:
    """Serve until the end of the process."""
    try:
        config = read_json(Path(arguments[0]).read_text(encoding="utf-8"))
        server = _server(config)
    except (OSError, KeyError, IndexError, TypeError, ValueError, CollectionError) as error:
        sys.stderr.write(f"The blob server cannot start: {type(error).__name__}: {error}\n")
        return EXIT_CONFIG if not isinstance(error, OSError) else 1
    host, port = server.server_address[:2]
    sys.stderr.write(f"Sharing {', '.join(config['models'])} of {config['models_path']} on {host!s}:{port}\n")
    server.serve_forever()
    return 0


def _server(config: dict[str, Any]) -> BlobServer:
    secret = _credential(config["secret_file"])
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"the secret has fewer than {SHORTEST_SECRET} characters")
    metrics = config.get("busy_metrics")
    return BlobServer(
        (config["listen"], config["port"]),
        Library(config["models_path"], config["models"]),
        RequestSigner(secret),
        uploads=config["max_uploads"],
        rate=config.get("max_upload_rate"),
        busy=BusyWorker(metrics).is_busy if metrics else lambda: False,
        tls=_tls(config.get("tls")),
    )


def _tls(config: Optional[dict[str, str]]) -> Optional[ssl.SSLContext]:
    """Return the TLS settings. A client without a certificate of the fleet's authority cannot send a request."""
    if not config:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config["cert"], _path(config["key"]), password="")  # or OpenSSL would ask a terminal
    context.load_verify_locations(config["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _credential(name: str) -> str:
    return Path(_path(name)).read_text(encoding="utf-8").strip()


def _path(name: str) -> str:
    """Return the path of a credential of systemd, or of any other file."""
    return name if name.startswith("/") else os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
