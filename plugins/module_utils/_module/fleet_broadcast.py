# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A broadcast to the nodes of a fleet, and their reports."""

from __future__ import annotations

import math
import time
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._fleet.broadcaster import broadcast as send_broadcast
from .._fleet.broadcasts import (
    ACCEPTED,
    DONE,
    EXCHANGE,
    FAILED,
    IMPORT,
    PLAN,
    BroadcastRepeatedError,
    NodeReport,
    Order,
)
from .._fleet.broker_connection import BrokerConnection
from .._fleet.errors import BrokerError, FleetError, InvalidQuestionError
from .._mirror.signing.keys import PrivateKey
from .._ollama.names import ModelName
from .._ollama.text import printable
from .argspec import ArgumentSpec
from .broker_options import broker_settings

BROADCAST = ArgumentSpec(
    {
        "name": {"type": "str", "required": True, "aliases": ["model"]},
        "nodes": {"type": "list", "elements": "str"},
        "exchange": {"type": "str", "default": EXCHANGE},
        "discovery": {"type": "float", "default": 5.0},
        "timeout": {"type": "float", "default": 3600.0},
        "signing_key": {"type": "path", "no_log": False},
        "signing_key_passphrase": {"type": "str", "no_log": True},
    }
)


class BroadcastFailedError(FleetError):
    """Some nodes did not import the model."""

    code = "broadcast_failed"


class _Reports:
    """The reports of the nodes so far.

    :param expected: the nodes that must answer; None for all nodes that report within ``discovery`` seconds.
    """

    def __init__(self, expected: Optional[list[str]], discovery: float) -> None:
        self._expected = expected
        self._discovery = discovery
        self._until: Optional[float] = None
        self.latest: dict[str, NodeReport] = {}

    def add(self, report: NodeReport) -> None:
        known = self.latest.get(report.node)
        # A node reports this about a copy that somebody else has sent. It says nothing about the original broadcast.
        if known is not None and report.error.get("code") == BroadcastRepeatedError.code:
            return
        # A node that gets the message again repeats its first report. A model that it has imported by then is no change
        # any more, and nothing that happens to the second import undoes the first.
        if known is None or known.state == ACCEPTED or (known.state == FAILED and report.state != ACCEPTED):
            self.latest[report.node] = report

    @property
    def unfinished(self) -> list[str]:
        """The nodes without a final report."""
        ended = {node for node, report in self.latest.items() if report.state != ACCEPTED}
        return sorted({*(self._expected or ()), *self.latest} - ended)

    def complete(self) -> bool:
        """Return whether all reports have come. The time of the discovery begins with the first call."""
        if self._until is None:
            self._until = time.monotonic() + self._discovery
        return not self.unfinished and (self._expected is not None or time.monotonic() >= self._until)


def broadcast(module: AnsibleModule) -> dict[str, Any]:
    """Make every node import a model; in check mode, make the nodes report their plans."""
    params = module.params
    ModelName.parse(params["name"])
    for option in ("timeout", "discovery"):
        if not 0 < params[option] < math.inf:
            raise InvalidQuestionError(f"{option} is {params[option]:g}", remedy="Give seconds, more than 0")
    nodes = params["nodes"]
    if nodes is not None and not nodes:
        raise InvalidQuestionError(
            "nodes is empty, so no node would import the model", remedy="Name nodes, or omit the option"
        )
    key = params["signing_key"]
    signer = PrivateKey.load(key, params["signing_key_passphrase"]) if key else None
    order = Order(PLAN if module.check_mode else IMPORT, params["name"], None if nodes is None else tuple(nodes))
    with BrokerConnection(broker_settings(params)) as connection:
        reports = _Reports(nodes, params["discovery"])
        try:
            correlation_id = send_broadcast(
                connection,
                order,
                exchange=params["exchange"],
                seconds=params["timeout"],
                on_report=reports.add,
                enough=reports.complete,
                signer=signer,
            )
        except BrokerError as error:
            if "correlation_id" in error.details:  # lost after the broker had taken the broadcast
                error.result = _found(module, reports, str(error.details["correlation_id"]))
            raise
    found = _found(module, reports, correlation_id)
    _require_success(module, reports, found)
    return found


def _found(module: AnsibleModule, reports: _Reports, correlation_id: str) -> dict[str, Any]:
    results = {
        node: {"state": report.state, **report.result, **({"error": dict(report.error)} if report.error else {})}
        for node, report in sorted(reports.latest.items())
    }
    done = {node: report.result for node, report in sorted(reports.latest.items()) if report.state == DONE}
    found: dict[str, Any] = {
        "changed": any(result.get("changed") is True for result in done.values()),
        "correlation_id": correlation_id,
        "nodes": results,
        "missing": reports.unfinished,
    }
    if module._diff:
        found["diff"] = {
            moment: "".join(f"{node}: {result.get(moment) or 'absent'}\n" for node, result in done.items())
            for moment in ("before", "after")
        }
    return found


def _require_success(module: AnsibleModule, reports: _Reports, found: dict[str, Any]) -> None:
    if not reports.latest and not reports.unfinished:
        nobody = BroadcastFailedError(
            f"No node has taken the broadcast within {module.params['discovery']:g} seconds",
            remedy="Check that the nodes' updates run and reach the broker; a node that is back in time imports it",
        )
        nobody.result = found
        raise nobody
    failed = [
        f"{printable(node)}: {printable(one.error.get('message'), 500)}"
        for node, one in reports.latest.items()
        if one.state == FAILED
    ]
    if failed or reports.unfinished:
        complaints = [*sorted(failed), *(f"{printable(node)}: no report in time" for node in reports.unfinished)]
        error = BroadcastFailedError(
            f"{len(complaints)} of {len({*reports.latest, *reports.unfinished})} nodes did not import the model:"
            f" {'; '.join(complaints)}",
            remedy="Read the log of the updates on these nodes; their running imports continue",
        )
        error.result = found
        raise error
