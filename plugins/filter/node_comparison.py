# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that compares a node with its wanted state and with the mirror."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_comparison
short_description: Compare a node with its wanted state
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Compares the releases and versions of Ollama and of the worker with the wanted ones, and the digests of the models with those of the mirror,
    for the playbook C(legionio.ollama.verify_fleet).
options:
  _input:
    description: The state of the node, and the wanted state.
    type: dict
    required: true
    suboptions:
      host:
        description: The name of the node in sentences.
        type: str
        required: true
      worker_name:
        description: The name of the worker's unit.
        type: str
        required: true
      server_state:
        description: The releases of Ollama, C(asked), C(current), C(running) and C(version). If not set, they are not compared.
        type: dict
      worker_state:
        description: The releases of the worker, C(asked), C(current) and C(running).
        type: dict
        required: true
      status:
        description: The status document of the worker as JSON; empty if there is none.
        type: str
        required: true
      server:
        description: The result of M(legionio.ollama.ollama_model_info).
        type: dict
        required: true
      names:
        description: The models that the node must have.
        type: list
        elements: str
        required: true
      mirror:
        description: The result of M(legionio.ollama.ollama_s3_info). If not set, no model is compared.
        type: dict
"""

EXAMPLES = r"""
- name: Compare a node
  ansible.builtin.set_fact:
    compared: "{{ seen | legionio.ollama.node_comparison }}"
  vars:
    seen:
      host: gpu-01
      worker_name: fleet-worker
      worker_state: {asked: 1.0.0-0123456789, current: 1.0.0-0123456789, running: 1.0.0-0123456789}
      status: '{"ready": true, "summary": "3 of 3 lanes served"}'
      server: {version: 0.24.0, models: []}
      names: []
"""

RETURN = r"""
_value:
  description:
    - C(problems) has a sentence for each difference, with its remedy. If it is empty, the node is in its wanted state.
    - C(seen) has the dictionaries C(ollama) and C(worker) and the list C(models) for the report of verify_fleet.
  type: dict
  sample: {problems: [], seen: {models: [], ollama: {}, worker: {}}}
"""

from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from ansible.errors import AnsibleFilterError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.json_text import read_json
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

#: The version that a build of Ollama without a version reports.
NO_VERSION = "0.0.0"


def node_comparison(found: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a node with its wanted state.

    :param found: the input, as in DOCUMENTATION.
    :return: ``problems`` and ``seen``.
    :raises AnsibleFilterError: for an invalid model name.
    """
    try:
        models = compared_models(found)
    except CollectionError as error:
        raise AnsibleFilterError(str(error)) from error
    status = worker_status(str(found["status"]))
    problems = [*server_problems(found), *worker_problems(found, status)]
    problems += [model["problem"] for model in models if model["problem"]]
    return {
        "problems": problems,
        "seen": {
            "ollama": {**releases(found.get("server_state")), "version": found["server"].get("version")},
            "worker": {
                **releases(found["worker_state"]),
                "ready": bool(status.get("ready")),
                "summary": status.get("summary"),
            },
            "models": models,
        },
    }


def releases(state: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the releases of one program for the report."""
    state = state or {}
    return {
        "release_asked": state.get("asked"),
        "release_current": state.get("current"),
        "release_running": state.get("running"),
    }


def worker_status(text: str) -> dict[str, Any]:
    """Return the status document of a worker; an empty dictionary without one."""
    try:
        status = read_json(text)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def server_problems(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of the releases and the version of Ollama."""
    host, state, server = found["host"], found.get("server_state"), found["server"]
    if server.get("version") is None:
        yield f"Ollama on {host} does not answer: {server.get('msg', 'no reason given')}. See systemctl status ollama there"
    if not state:
        return
    yield from release_problems(host, "Ollama", "ollama", state)
    asked, answered = str(state.get("version") or ""), str(server.get("version") or "")
    if asked and answered not in ("", NO_VERSION, asked):
        yield (
            f"Ollama on {host} says that it is {answered}, and ollama_server_version asks for {asked}. Give the checksum and the source of that "
            "version, or correct ollama_server_version"
        )


def worker_problems(found: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of the release and the state of the worker."""
    host, name = found["host"], found["worker_name"]
    yield from release_problems(host, "the worker", name, found["worker_state"])
    if not status:
        yield f"The worker {name} on {host} gives no status. See systemctl status {name} there"
    elif not status.get("ready"):
        yield f"The worker {name} on {host} is not ready: {status.get('summary', 'no reason given')}"


def release_problems(host: str, program: str, unit: str, state: Mapping[str, Any]) -> Iterator[str]:
    """Yield the difference between the releases of one program and the wanted one; at most one sentence."""
    asked, current, running = (str(state.get(part) or "") for part in ("asked", "current", "running"))
    if current != asked:
        yield (
            f"{host} has the release {current or 'none'} of {program}, and the inventory asks for {asked}. Run upgrade_fleet or provision_fleet, or, "
            "after a rollback, have the inventory ask for the release that is there"
        )
    elif running != current:
        yield (
            f"{host} runs {'the release ' + running if running else 'no release'} of {program}, and {current} is current. Look at systemctl status "
            f"{unit} there, and restart it"
        )


def compared_models(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each model that the node must have, with its digests on the node and in the mirror, and its problem.

    :raises InvalidNameError: for an invalid model name.
    """
    mirror = found.get("mirror")
    if mirror is None or found["server"].get("version") is None:
        return []
    here = {str(model["full_name"]).lower(): str(model["digest"]) for model in found["server"].get("models") or ()}
    there = {str(model["full_name"]): str(model["digest"]) for model in mirror.get("models") or ()}
    broken = {ModelName.parse(str(model["name"])).full: model["problem"] for model in mirror.get("broken") or ()}
    compared = []
    for text in found["names"]:
        name = ModelName.parse(str(text))
        own, wanted = here.get(name.key), there.get(name.full)
        compared.append(
            {
                "name": name.short,
                "digest_node": own,
                "digest_mirror": wanted,
                "problem": model_problem(found["host"], name, own, wanted, broken.get(name.full) or mirror.get("msg")),
            }
        )
    return compared


def model_problem(host: str, name: ModelName, own: Optional[str], wanted: Optional[str], why: Optional[str]) -> str:
    """Return the problem of one model of a node; an empty text if the model is that of the mirror.

    :param why: why the digest in the mirror is unknown, if the reason is known.
    """
    remedy = f"Run update_models with --limit {host}"
    if wanted is None:
        return (
            f"The mirror cannot say which {name.short} is wanted on {host}, which has {own or 'none'}: "
            f"{why or 'it has no such model'}. Publish the model, or take it from ollama_models_names"
        )
    if own is None:
        return f"{host} lacks the model {name.short}, which the mirror has as {wanted}. {remedy}"
    if own != wanted:
        return f"{host} has the model {name.short} as {own}, and the mirror has it as {wanted}. {remedy}"
    return ""


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"node_comparison": node_comparison}
