# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The results of the modules that talk to a mirror: plans and reports as return values."""

from __future__ import annotations

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models.import_report import ImportReport
from .._mirror.models.model_removal import Removal, Shelf, carry_out_removal
from .._mirror.models.plan import ADD, KEEP, REMOVE, REPLACE, ModelChange, Plan
from .._ollama.errors import CollectionError
from .diffs import plan_diff


def carried_out(shelf: Shelf, plan: Plan) -> Removal:
    """Carry out a removal. If it fails, the result of the error has whether anything was removed before."""
    removal = Removal()
    try:
        return carry_out_removal(shelf, plan, removal)
    except CollectionError as error:
        error.result = {"changed": removal.changed}
        raise


def removed(module: AnsibleModule, plan: Plan, where: str, removal: Removal) -> dict[str, Any]:
    """Return the result of a removal; in check mode, the predicted result."""
    blobs = [blob for blob in plan.of(REMOVE) if module.check_mode or blob.digest in removal.digests]
    for warning in removal.warnings:
        module.warn(warning)
    return {
        **_planned(module, plan, where),
        "blobs_removed": len(blobs),
        "bytes_freed": sum(blob.size for blob in blobs),
    }


def imported(module: AnsibleModule, plan: Plan, where: str, report: Optional[ImportReport]) -> dict[str, Any]:
    """Return the result of an import or a sync; without a report, the predicted result."""
    done = report or ImportReport(
        downloaded=[blob.digest for blob in plan.of(ADD, REPLACE)],
        removal=Removal(digests=[blob.digest for blob in plan.of(REMOVE)]),
        bytes_received=plan.bytes_to_transfer,
    )
    for warning in (*done.warnings, *done.removal.warnings):
        module.warn(warning)
    return {
        **_planned(module, plan, where),
        **_progress(done),
        "blobs_skipped": sum(not blob.reason for blob in plan.of(KEEP)),
        "bytes_freed": sum(blob.size for blob in plan.of(REMOVE) if blob.digest in done.removal.digests),
        "repaired": [{"digest": blob.digest, "reason": blob.reason} for blob in plan.of(REPLACE)],
    }


def partial_import(report: ImportReport) -> dict[str, Any]:
    """Return the result of an import until its failure."""
    return {
        "changed": report.changed,
        **_progress(report),
        "models_completed": [name.short for name in report.models],
        "errors": [{"error": str(error), "error_code": error.code, **error.details} for error in report.failures],
    }


def from_peers(report: ImportReport) -> dict[str, Any]:
    """Return the part of an import's result about other nodes."""
    return {"bytes_from_peers": report.bytes_from_neighbours, "peers": report.neighbours}


def average_rate(count: int, seconds: float) -> int:
    """Return the average rate in bytes a second; 0 for no time."""
    return int(count / seconds) if seconds else 0


def _planned(module: AnsibleModule, plan: Plan, where: str) -> dict[str, Any]:
    for warning in plan.warnings:
        module.warn(warning)
    return {
        "changed": plan.changed,
        "models": [_model(model) for model in plan.models],
        **({"diff": plan_diff(plan, where)} if module._diff else {}),
    }


def _progress(report: ImportReport) -> dict[str, Any]:
    return {
        "blobs_downloaded": len(report.downloaded),
        "blobs_removed": len(report.removal.digests),
        "bytes_downloaded": report.bytes_received,
        "bytes_resumed": report.bytes_resumed,
        "resumed": report.resumed,
        "seconds": round(report.seconds, 3),
        "rate": average_rate(report.bytes_received, report.seconds),
    }


def _model(model: ModelChange) -> dict[str, Any]:
    return {
        "name": model.name.short,
        "full_name": model.name.full,
        "action": model.action,
        "digest": model.after.digest if model.after else None,
        "previous_digest": model.before,
        "size": model.after.size if model.after else None,
    }
