# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules, dashboard and the guide speak of metrics that the worker has, with labels that these have."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fleet_worker._fleet.messages import CODES
from fleet_worker.domain.publication import Publication
from fleet_worker.observe.counts import CountedEvent, Counts
from fleet_worker.observe.metrics import Metrics, _Standing
from fleet_worker.observe.worker_status import LaneReport, RequestReport, WorkerStatus

ROOT = Path(__file__).resolve().parents[5]
RULES = ROOT / "docs/monitoring/fleet-worker.rules.yml"
DASHBOARD = ROOT / "docs/monitoring/fleet-worker.dashboard.json"
GUIDE = (ROOT / "docs/operations.md").read_text()

STATUS = WorkerStatus(
    summary="",
    thread_trouble="",
    ready=True,
    connected=True,
    blocked=True,
    draining=True,
    ollama_up=True,
    broker="b:1",
    since=1.0,
    slots=1,
    held=1,
    lanes=(LaneReport("q", "m", "chat", "model", None, "push", "", 1, 1),),
    in_flight=(RequestReport("q", "c-1", 1.0),),
    rates={},
    counts=Counts(
        Counter(CountedEvent), Counter({"answered": 1}), Counter(Publication), Counter({"offering_heartbeat": 1})
    ),
)


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The names that Prometheus gets, each with its labels."""
    metrics = Metrics("gpu-01")
    metrics.registry.register(_Standing("gpu-01", lambda: STATUS))
    metrics.ended("q", "answered", {"waited": 1.0, "here": 1.0, "seconds": 1.0, "input_tokens": 1, "output_tokens": 1})
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_every_expression_asks_for_what_there_is(exported: dict[str, set[str]]) -> None:
    for expression in expressions():
        for name, matchers in re.findall(r"\b((?:fleet_worker|process)_[a-z_]+)(?:\{([^}]*)\})?", expression):
            assert name in exported, (name, expression)
            labels = set(re.findall(r"([a-z]+)\s*=~?", matchers)) - {"instance", "job"}
            assert labels <= exported[name], (name, labels, expression)
        for label in re.findall(r"by \(([a-z, ]+)\)", expression):
            known = {"instance"}.union(*(exported[name] for name in re.findall(r"fleet_worker_[a-z_]+", expression)))
            assert set(label.split(", ")) <= known, expression


def test_the_guide_names_every_metric_and_every_alert(exported: dict[str, set[str]]) -> None:
    for name in exported:
        short = re.sub(r"_(bucket|count|sum)$", "", name).replace("fleet_worker_", "")
        assert f"`{short}`" in GUIDE, name
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in GUIDE
            assert rule["annotations"]["summary"] and rule["annotations"]["description"]


#: What is wrong with a request itself, or with its size, needs no operator.
OF_THE_REQUEST = {
    *("payload_too_large", "unsupported_type", "unsupported_streaming"),
    *("invalid_envelope", "unsupported_operation", "contract_violated", "offering_mismatch"),
}


def test_the_guide_names_every_error_code_among_the_outcomes() -> None:
    outcomes = GUIDE[GUIDE.index("Outcomes:") :].partition("\n\n")[0]
    assert set(CODES) <= set(re.findall(r"`([a-z_]+)`", outcomes))


def test_requests_that_fail_for_a_fault_of_the_fleet_fire_the_alert() -> None:
    (expression,) = (expression for expression in expressions() if "unknown_instance" in expression)
    patterns = re.findall(r'outcome=~"([^"]+)"', expression)
    others = ("answered", "answered_again", "expired", "requester_gone", "given_back", "connection_lost")
    fires = {outcome for outcome in (*CODES, "defect", *others) if re.fullmatch("|".join(patterns), outcome)}
    assert fires == {*CODES, "defect"} - OF_THE_REQUEST


def test_the_panels_do_not_cover_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
