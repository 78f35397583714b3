# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``fleet-worker run|check-config|status|version``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Optional

from . import __version__
from .exit_codes import EXIT_CONFIG, EXIT_NOT_READY, EXIT_PROBLEMS
from .settings.config import DEFAULT_PATH, Config, load
from .settings.sections import ConfigError

#: Where the configuration of the updates is.
UPDATES_PATH = "/etc/legionio/fleet-worker-updates.yml"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="fleet-worker", description="Answer inference requests from RabbitMQ with Ollama."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "work until SIGTERM, then finish the running requests and exit"),
        ("check-config", "report the problems of the configuration"),
        ("status", "show what the running worker does"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", default=DEFAULT_PATH, metavar="FILE", help="default: %(default)s")
        if name == "status":
            command.add_argument("--json", action="store_true", help="as JSON instead of a table")
    updates = commands.add_parser("updates", help="import models that broadcasts ask for, until SIGTERM")
    updates.add_argument("--config", default=UPDATES_PATH, metavar="FILE", help="default: %(default)s")
    updates.add_argument("--check", action="store_true", help="only report the problems of the configuration")
    commands.add_parser("version", help="show the version")
    options = parser.parse_args(arguments)

    if options.command == "version":
        print(__version__)
        return 0
    try:
        if options.command == "updates":
            return _updates(options.config, check=options.check)
        config = load(options.config)
    except ConfigError as error:
        checking = options.command == "check-config" or (options.command == "updates" and options.check)
        for problem in error.problems:
            print(problem, file=sys.stdout if checking else sys.stderr)
        return EXIT_PROBLEMS if checking else EXIT_CONFIG
    if options.command == "check-config":
        print(f"{options.config}: {_lanes(config)}, nothing wrong")
        return 0
    return _status(config, as_json=options.json) if options.command == "status" else _run(config, options.config)


def _lanes(config: Config) -> str:
    listed = f"{len(config.lanes)} lanes"
    return listed if config.auto_lanes is None else f"{listed} and those of Ollama's models"


def _updates(path: str, *, check: bool) -> int:
    from .updates.config import load

    config = load(path)
    if check:
        print(f"{path}: nothing wrong")
        return 0
    from .updates.consumer import run

    return run(config)


def _run(config: Config, path: str) -> int:
    # A late import, because check-config must also work on a controller without the worker's packages.
    from .process.service import run

    return run(config, path)


def _status(config: Config, *, as_json: bool) -> int:
    from .observe.status import ask, table

    try:
        state = ask(config.status_socket)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        print(f"No worker answers at {config.status_socket}: {reason}. Is it running, and may you read there?")
        return 1
    print(json.dumps(state, indent=2) if as_json else table(state))
    return 0 if state.get("ready") else EXIT_NOT_READY
