# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``fleet-gateway run|check-config|check-keys|status|keys|usage|version``."""

from __future__ import annotations

import argparse
import json
import sqlite3
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import date
from typing import Any, Optional

from . import __version__
from ._ollama.json_text import read_json
from .exit_codes import EXIT_CONFIG, EXIT_NOT_READY, EXIT_PROBLEMS
from .settings.config import DEFAULT_PATH, Config, load
from .settings.keys import ApiKeys, KeyConfig, new_key
from .settings.sections import ConfigError


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "version":
        print(__version__)
        return 0
    if options.command == "keys":
        return _keys(options.name)
    checking = options.command in ("check-config", "check-keys")
    try:
        if options.command == "check-keys":
            ApiKeys(options.file)
            print(f"{options.file}: nothing wrong")
            return 0
        config = load(options.config)
        if checking and config.keys_file is not None:
            ApiKeys(config.keys_file)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stdout if checking else sys.stderr)
        return EXIT_PROBLEMS if checking else EXIT_CONFIG
    if checking:
        print(f"{options.config}: listens at {config.listen}, nothing wrong")
        return 0
    if options.command == "status":
        return _status(config, as_json=options.json)
    if options.command == "usage":
        return _usage(config, options.since, as_json=options.json)
    # A late import, because check-config must also work on a controller without the gateway's packages.
    from .process.service import run

    return run(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-gateway",
        description="An HTTP server in front of the queues of the fleet, for clients of Ollama, OpenAI and Anthropic.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "serve until SIGTERM, then finish the running requests and exit"),
        ("check-config", "report the problems of the configuration and the keys"),
        ("status", "show what the running gateway does"),
        ("usage", "show what each key has used"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", default=DEFAULT_PATH, metavar="FILE", help="default: %(default)s")
        if name in ("status", "usage"):
            command.add_argument("--json", action="store_true", help="as JSON instead of a table")
        if name == "usage":
            command.add_argument("--since", type=_day, metavar="DAY", help="the first day, as 2026-11-30; default: all")
    text = "report the problems of a file of keys"
    commands.add_parser("check-keys", help=text, description=text).add_argument("file", help="the file")
    keys = commands.add_parser("keys", help="make a key", description="Make a key. It is shown once, and never stored.")
    keys.add_argument("name", help="whose key it is")
    commands.add_parser("version", help="show the version")
    return parser


def _keys(name: str) -> int:
    key, hashed = new_key()
    try:
        KeyConfig(name=name, hash=hashed)
    except ValueError:
        print(f"{name!r} cannot be the name of a key. Use 1 to 64 letters, digits and _ . @ -", file=sys.stderr)
        return EXIT_PROBLEMS
    print(f"key:   {key}")
    print("entry for the file of keys:")
    print(f"  - name: {json.dumps(name)}")
    print(f"    hash: {hashed}")
    return 0


def _status(config: Config, *, as_json: bool) -> int:
    from .process.service import listens_at

    # The certificate of this machine's gateway need not contain 127.0.0.1.
    context = ssl._create_unverified_context() if config.tls else None  # noqa: S323
    url = str(listens_at(config))
    try:
        with _opener(context).open(url, timeout=10) as answer:
            state: dict[str, Any] = read_json(answer.read())
    except urllib.error.HTTPError as error:
        print(f"The server at {url} answers with status {error.code} ({error.reason}). Is it this gateway?")
        return 1
    except (OSError, ValueError, urllib.error.URLError) as error:
        print(f"No gateway answers at {url}: {error}. Is it running?")
        return 1
    if as_json:
        print(json.dumps(state, indent=2))
    else:
        print(f"{state['node']}: " + ("ready" if state["ready"] else f"not ready: {state['reason']}"))
        for lane in state["lanes"]:
            print(
                f"{lane['queue']:60} {len(lane['nodes'])} nodes, {lane['slots']} slots,"
                f" {lane['running']} running, {lane['waiting']} waiting"
            )
    return 0 if state["ready"] else EXIT_NOT_READY


def _opener(context: Optional[ssl.SSLContext]) -> urllib.request.OpenerDirector:
    """Return an opener without the proxies of the environment: a proxy does not reach this machine's addresses."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def _day(text: str) -> str:
    """Check a day, because days are compared as texts.

    :raises argparse.ArgumentTypeError: if the text is not a day in the format of the usage.
    """
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a day; write a day like 2026-11-30")


def _usage(config: Config, since: Optional[str], *, as_json: bool) -> int:
    from .observe.usage_store import read_usage

    try:
        rows = read_usage(config.state_directory, since)
    except sqlite3.Error as error:
        print(f"Nothing can be read in {config.state_directory}: {error}. Has the gateway run, and may you read there?")
        return 1
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'day':10}  {'key':20}  {'model':32}  {'requests':>9}  {'input':>12}  {'output':>12}")
    for row in rows:
        print(
            f"{row['day']:10}  {row['key']:20}  {row['model']:32}  {row['requests']:>9}"
            f"  {row['input_tokens']:>12}  {row['output_tokens']:>12}"
        )
    return 0
