# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Checks of the configuration of the worker, or of its updates, on the controller, before anything on a node changes.

The schema of the worker's own classes describes the form. The code that the worker itself uses checks the meaning. A
test compares the results with those of the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import queue_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker import Address
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import NODE, check_collisions, lane
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import KeyRing
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.policy import (
    ENFORCE,
    OFF,
    SignaturePolicy,
    SignatureRule,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.header_fields import check_header
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.hosts import parse_host
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RANGED
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.options import keep_alive
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.patterns import NamePattern
from ansible_collections.legionio.ollama.plugins.plugin_utils._gateway_config import gateway_problems, keys_problems
from ansible_collections.legionio.ollama.plugins.plugin_utils._json_schema import Problem, schema_problems

#: A stand-in for the name of a node, if the configuration does not set one.
SOME_NODE = "node"
#: The fewest seconds between a deadline and the time when the broker takes a request back.
MARGIN = 10


def config_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Return the keys of a configuration that the worker would refuse, each with the reason."""
    config = dict(config)
    if config.get("lanes") == "auto":
        config |= {"lanes": [], "auto_lanes": config.get("auto_lanes") or {}}
    found = schema_problems(config, schema)
    if not found:
        found = [*(broker_problems(config["broker"]) if "broker" in config else ()), *_meaning(schema)(config)]
    return found


def _meaning(schema: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Iterator[Problem]]:
    """Return the function that checks the meaning of documents with this schema."""
    known = schema["properties"]
    if "mirror" in known:
        return updates_problems
    if "lanes" in known:
        return worker_problems
    return gateway_problems if "listen" in known else keys_problems


def broker_problems(broker: Mapping[str, Any]) -> Iterator[Problem]:
    for text in broker["addresses"]:
        yield from _refused("broker.addresses", Address.parse, text, tls=False)
    tls = broker.get("tls") or {}
    if tls.get("client_key_credential") and not tls.get("client_cert"):
        yield "broker.tls", "client_key_credential needs client_cert"
    if broker.get("username", "") is None and not tls.get("client_cert"):
        yield "broker", "has neither a username nor tls.client_cert"


def worker_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    ollama = config.get("ollama") or {}
    yield from _refused("ollama.host", parse_host, ollama.get("host", "localhost"))
    for name, text in ollama.get("headers", {}).items():
        yield from _refused("ollama.headers", check_header, name, text)
    for name in config.get("model_concurrency", {}):
        yield from _refused("model_concurrency", ModelName.parse, name)
    exchanges = config.get("exchanges", [])
    if len(set(exchanges)) != len(exchanges):
        yield "exchanges", "lists an exchange twice"
    listen = (config.get("metrics") or {}).get("listen")
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})?", listen or "x:1")
    if match is None or not 0 < int(match[1] or 0) < 65536:
        yield "metrics.listen", "must be host:port"
    protocol = config.get("protocol") or {}
    if protocol.get("decrypt") in (True, "true") and protocol.get("secret_credential") is None:
        yield "protocol", "has decrypt without secret_credential"
    if protocol.get("tokens") in ("optional", "required") and protocol.get("secret_credential") is None:
        yield "protocol", f"has tokens: {protocol['tokens']} without secret_credential"
    yield from _lane_problems(config)


def _lane_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    auto = config.get("auto_lanes")
    if not config["lanes"] and auto is None:
        yield "lanes", "is empty; list at least one lane, or set lanes to auto"
    node = config.get("node", SOME_NODE)
    lanes, entries = [], [(f"lanes.{place}", entry) for place, entry in enumerate(config["lanes"])]
    for key, entry in [*entries, *([("auto_lanes", auto)] if auto is not None else [])]:
        yield from _settings_problems(key, entry)
    for name in ("allow", "deny") if auto is not None else ():
        for pattern in auto.get(name, ()):  # type: ignore[union-attr]
            yield from _refused(f"auto_lanes.{name}", NamePattern.parse, pattern)
    for key, entry in entries:
        style, window = entry.get("style", "model"), entry.get("context_window")
        window = window if window is None else int(float(window))
        try:
            made = lane(
                entry["type"],
                entry["model"],
                style=style,
                context_window=window,
                node=entry.get("instance") or node,
                suffixes=entry.get("suffixes", ()),
            )
        except CollectionError as error:
            yield key, str(error)
            continue
        lanes.append(made)
        if config.get("own_lanes") in (True, "true") and style == "model" and entry["type"] != "embed":
            yield from _refused("own_lanes", lane, entry["type"], entry["model"], style=NODE, node=node)
        if entry.get("instance") is not None and style != "offering":
            yield key, "instance is for lanes of style offering alone"
        yield from _deadline_problems(key, entry.get("deadline"), made.ack_timeout)
    yield from _refused("lanes", check_collisions, lanes)
    suffixes = (auto or {}).get("suffixes", ())
    yield from _refused("auto_lanes.suffixes", lane, "chat", "any", style="shared", suffixes=suffixes)
    for style in (auto or {}).get("styles", ["model"]):
        example = lane("chat", "any", style=style, node=SOME_NODE)
        yield from _deadline_problems("auto_lanes.deadline", (auto or {}).get("deadline"), example.ack_timeout)


def _deadline_problems(key: str, deadline: Any, ack_timeout: Any) -> Iterator[Problem]:
    if deadline is not None and ack_timeout and float(deadline) > ack_timeout - MARGIN:
        yield key, f"the deadline {deadline} is too long; set {ack_timeout - MARGIN:g} seconds or less"


def _settings_problems(key: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _refused(f"{key}.keep_alive", keep_alive, entry.get("keep_alive"))
    for name, (least, most) in entry.get("option_ranges", {}).items():
        if name not in RANGED:
            yield f"{key}.option_ranges", f"{name} is not an option with a range; choose of {', '.join(sorted(RANGED))}"
        elif float(least) > float(most):
            yield f"{key}.option_ranges", f"the range of {name} begins with {least}, above its end"


def updates_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _refused("node", queue_of, config.get("node", SOME_NODE))
    if "@" in (config["mirror"].get("endpoint_url") or ""):
        yield "mirror.endpoint_url", "has a user or a password"
    for pattern in config["models"]:
        yield from _refused("models", NamePattern.parse, pattern)
    yield from _signature_problems(config.get("signatures") or {})
    broadcasts = config.get("broadcasts") or {}
    keys = broadcasts.get("keys", ())
    if (broadcasts.get("policy") or (ENFORCE if keys else OFF)) != OFF:
        yield from _refused("broadcasts.keys", KeyRing, keys)
        if not (keys and broadcasts.get("record")):
            yield "broadcasts", "need keys and record where signatures are to be checked"


def _signature_problems(signatures: Mapping[str, Any]) -> Iterator[Problem]:
    rules = tuple(SignatureRule(rule["models"], rule["policy"]) for rule in signatures.get("rules", ()))
    policy, keys = signatures.get("policy", OFF), signatures.get("keys", ())
    found = [problem for rule in rules for problem in _refused("signatures.rules", NamePattern.parse, rule.pattern)]
    # Without a policy that checks signatures, the worker does not read the keys.
    if any(mode != OFF for mode in (policy, *(rule.mode for rule in rules))):
        found += _refused("signatures.keys", KeyRing, keys)
    yield from found or _refused("signatures", SignaturePolicy.parse, policy, rules, keys)


def _refused(key: str, check: Callable[..., Any], *values: Any, **options: Any) -> Iterator[Problem]:
    try:
        check(*values, **options)
    except CollectionError as error:
        yield key, f"{error.message}; {error.remedy}" if error.remedy else error.message
