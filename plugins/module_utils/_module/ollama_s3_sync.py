# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_sync: copy models from the mirror to a running server, through its API."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models.import_report import SyncReport
from .._mirror.models.model_sync import ModelSync, ServerAccess
from .._mirror.models.plan import ADD, Plan
from .._mirror.signing.policy import SignaturePolicy
from .._mirror.state.lock import LockWait
from .._mirror.transfer.options import TransferOptions
from .._ollama.errors import CollectionError
from .._ollama.retry import RetryPolicy
from .._ollama.safe_fs import DirectoryError
from .._ollama.store import Store, StoreSettings
from .groups import signature_policy
from .progress import reported_progress
from .s3_options import DeclaredModels, endpoint_in_failures, mirror_of, server_remarks, transfer_options
from .s3_results import imported, partial_import
from .server_options import connect


@dataclass(frozen=True)
class SyncOptions:
    """The options of a task."""

    declared: DeclaredModels
    models_path: str
    transfer: TransferOptions
    verify_always: bool
    signatures: SignaturePolicy
    policy: RetryPolicy

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> SyncOptions:
        """Read the parameters of the module.

        :raises CollectionError: for an invalid value.
        """
        return cls(
            declared=DeclaredModels.from_params(params),
            models_path=params["models_path"],
            transfer=transfer_options(params),
            verify_always=params["verify"] == "always",
            signatures=signature_policy(params),
            policy=RetryPolicy(params["retries"]),
        )


def sync_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models present on a running server."""
    options = SyncOptions.from_params(module.params)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_reachable(options.models_path))
        client, pusher = stack.enter_context(connect(module)), stack.enter_context(connect(module, retries=0))
        counter = stack.enter_context(reported_progress())
        stack.enter_context(endpoint_in_failures(options.declared.mirror))
        mirror = mirror_of(options.declared.mirror, options.transfer)
        syncer = ModelSync(
            mirror,
            store,
            options.declared.names,
            ServerAccess(client, pusher, options.policy),
            verify_always=options.verify_always,
            options=options.transfer,
            wait=LockWait(module.warn),
            counter=counter,
        )
        syncer.demand_signatures(options.signatures)
        plan = syncer.plan()
        if module.check_mode or not plan.changed:
            if store.exists and not module.check_mode:
                syncer.remember()
            return {**_synced(module, plan, syncer, None), **server_remarks(module, mirror)}
        try:
            plan = syncer.apply()
        except CollectionError as error:
            failures = syncer.report.failures or [error]
            error.result = {
                **partial_import(syncer.report),
                "blobs_uploaded": len(syncer.report.pushed),
                "errors": [
                    {"digest": None, "status": None, **each.details, "error": str(each), "error_code": each.code}
                    for each in failures
                ],
            }
            raise
        return {**_synced(module, plan, syncer, syncer.report), **server_remarks(module, mirror)}


def _reachable(path: str) -> Store:
    """Return the store of a server, marked as out of reach when this user cannot read it."""
    settings = StoreSettings(path)
    try:
        return Store(settings)
    except DirectoryError as error:
        return Store.out_of_reach(settings, error.message)


def _synced(module: AnsibleModule, plan: Plan, syncer: ModelSync, report: Optional[SyncReport]) -> dict[str, Any]:
    pushed = len(report.pushed) if report else len(plan.of(ADD))
    return {
        **imported(module, plan, syncer.where, report),
        "blobs_uploaded": pushed,
        "errors": [],
        "unverified": syncer.report.unverified,
    }
