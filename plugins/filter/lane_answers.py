# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that reports which node answered on each lane."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lane_answers
short_description: Report which node answered on each lane
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Turns the results of a loop of M(legionio.ollama.fleet_request) over lanes into a table and sentences, for the playbook
    C(legionio.ollama.verify_fleet).
positional: host, node, status
options:
  _input:
    description: The results of the loop, whose items are lanes.
    type: list
    elements: dict
    required: true
  host:
    description: The name of the node that sent the requests.
    type: str
    required: true
  node:
    description: The node that must have answered. Empty for any node.
    type: str
    default: ""
  status:
    description: The status document of this node after the requests. A lane is not a problem if the node has answered other requests of the lane.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Name the lanes that nobody has answered
  ansible.builtin.debug:
    msg: "{{ (answers.results | legionio.ollama.lane_answers('gpu-01')).problems }}"
"""

RETURN = r"""
_value:
  description:
    - C(lanes) has C(type), C(model), C(style), C(answered_by), C(milliseconds), C(attempts), C(problem) and C(text) of each lane.
    - C(problems) has a sentence for each problem of a lane.
  type: dict
  sample: {lanes: [], problems: []}
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.json_text import read_json
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.text import printable


def lane_answers(results: Sequence[Mapping[str, Any]], host: str, node: str = "", status: str = "") -> dict[str, Any]:
    """Return the lanes, each with the node that answered, and the problems.

    :param results: the results of a loop over lanes.
    :param host: the node that sent the requests.
    :param node: the node that must have answered; empty for any node.
    :param status: the status document of this node after the requests.
    """
    answered = answered_by_node(status)
    lanes = [lane_answer(result, host, node, answered[str(result.get("lane"))]) for result in results]
    return {"lanes": lanes, "problems": [lane["problem"] for lane in lanes if lane["problem"]]}


def answered_by_node(status: str) -> Counter[str]:
    """Return the number of answers of each lane, from a status document. An older worker does not count them."""
    try:
        lanes = read_json(status)["lanes"]
        return Counter({lane["queue"]: int(lane.get("answered", 0)) for lane in lanes})
    except (ValueError, KeyError, TypeError):
        return Counter()


def lane_answer(result: Mapping[str, Any], host: str, node: str, answers: int) -> dict[str, Any]:
    """Return a lane with the node that answered.

    :param answers: the number of requests of this lane that the node has answered, also those of others.
    """
    item = result["item"]
    name = f"{item['type']} {item['model']}"
    # failed_when removes the mark of a failure, so a result counts as an answer if it has seconds and no error code.
    answered = result.get("seconds") is not None and result.get("error_code") is None
    who, attempts = result.get("node"), int(result.get("attempts") or 1)
    milliseconds = round(result["seconds"] * 1000) if answered else None
    shown = printable(who or "a node that does not say its name")
    problem, beside = "", ""
    if not answered:
        problem = f"The lane {name}, asked from {host}, gave no answer: {result.get('msg', 'no reason given')}"
    elif node and who != node and answers:
        beside = f" ({node} has answered {answers} other requests of the lane)"
    elif node and who != node:
        problem = (
            f"The lane {name} was answered {attempts} times by other nodes, last by {shown}, and never by {node}. Look at fleet-worker status there; where "
            "other nodes come first by their consumer_priority, give the node a lane of the style offering, which nobody else serves"
        )
    return {
        "type": item["type"],
        "model": item["model"],
        "style": item.get("style") or "model",
        "answered_by": who if answered else None,
        "milliseconds": milliseconds,
        "attempts": attempts,
        "problem": problem,
        "text": problem or f"{name}: answered by {shown} in {milliseconds} ms{beside}{said(result)}",
    }


def said(result: Mapping[str, Any]) -> str:
    """Return the content of an answer, for people."""
    if result.get("content"):
        return ": " + printable(str(result["content"]).strip(), 500)
    if result.get("embeddings"):
        return f", an embedding of {len(result['embeddings'][0])} numbers"
    return ""


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"lane_answers": lane_answers}
