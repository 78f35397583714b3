# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_model_info: the version of a server, its models, and those in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._ollama.model_list import ListedModel, listed, matches, parameters_of
from .server_options import connect


def info(module: AnsibleModule) -> dict[str, Any]:
    """Read the version of a server, its models, and the models in memory."""
    with connect(module) as client:
        version = client.version()["version"]
        running = {model.name: model for model in listed(client.ps())}
        patterns = module.params["name"]
        models = [
            model
            for model in listed(client.tags())
            if not patterns or any(matches(pattern, model.name) for pattern in patterns)
        ]
        described = [described_model(model, running.get(model.name)) for model in models]
        if module.params["details"]:
            for model, entry in zip(models, described):
                entry.update(details_of(client.show(model.shown, verbose=module.params["verbose"])))
    return {
        "changed": False,
        "version": version,
        "models": described,
        "running": [loaded(model) for model in running.values()],
    }


def described_model(model: ListedModel, running: Optional[ListedModel]) -> dict[str, Any]:
    """Return a model in the store of a server, as the results of modules show it."""
    details = model.document.get("details") or {}
    return {
        "name": model.shown,
        "full_name": model.name.full,
        "digest": model.digest,
        "size": model.size,
        "modified_at": model.document.get("modified_at"),
        "format": details.get("format") or None,
        "family": details.get("family") or None,
        "parameter_size": details.get("parameter_size") or None,
        "quantization_level": details.get("quantization_level") or None,
        "loaded": running is not None,
    }


def loaded(model: ListedModel) -> dict[str, Any]:
    """Return a model in memory, as the results of modules show it."""
    return {
        "name": model.shown,
        "digest": model.digest,
        "size": model.size,
        "size_vram": model.document.get("size_vram") or 0,
        "context_length": model.document.get("context_length"),
        "expires_at": model.document.get("expires_at"),
    }


def details_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer to ``show`` that is useful for people and playbooks."""
    return {
        "parent_model": (shown.get("details") or {}).get("parent_model") or None,
        "capabilities": shown.get("capabilities") or [],
        "template": shown.get("template") or "",
        "system": shown.get("system") or "",
        "parameters": parameters_of(shown),
        "messages": shown.get("messages") or [],
        "license": shown.get("license") or "",
        "modelfile": shown.get("modelfile") or "",
        "model_info": shown.get("model_info") or {},
        "requires": shown.get("requires") or None,
    }
