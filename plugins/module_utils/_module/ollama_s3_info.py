# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_info: the models of a mirror."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models.catalog import Listed, models
from .._mirror.s3.mirror import Mirror
from .groups import s3_settings
from .s3_options import endpoint_in_failures


def list_models(module: AnsibleModule) -> dict[str, Any]:
    """Return the models that a mirror has."""
    settings = s3_settings(module.params)
    with endpoint_in_failures(settings):
        found = models(Mirror(settings), module.params["name"])
    return {
        "changed": False,
        "models": [_listed(listed) for listed in found if listed.manifest],
        "broken": [{"name": listed.name.short, "problem": listed.problem} for listed in found if not listed.manifest],
    }


def _listed(listed: Listed) -> dict[str, Any]:
    manifest = listed.manifest
    return {
        "name": listed.name.short,
        "full_name": listed.name.full,
        "digest": manifest.digest if manifest else None,
        "size": manifest.size if manifest else None,
        "modified": listed.modified.isoformat() if listed.modified else None,
        "config": manifest.config.digest if manifest and manifest.config else None,
        "layers": [
            {"media_type": layer.media_type, "digest": layer.digest, "size": layer.size, "name": layer.name}
            for layer in (manifest.layers if manifest else ())
        ],
    }
