# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of the module that syncs.

Apart from that of the other mirror modules, since it needs a client of Ollama, which would cost each of them its start.
"""

from __future__ import annotations

import contextlib
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models import model_sync
from .._mirror.models.plan import ADD, Plan
from .._mirror.state.lock import LockWait
from .._ollama.errors import CollectionError
from .._ollama.retry import RetryPolicy
from .._ollama.safe_fs import DirectoryError
from .._ollama.store import Store, StoreSettings
from .mirror_work import (
    imported,
    naming_the_mirror,
    partial_import,
    remarked,
    transfer_mirror,
    transfer_names,
    transfer_options,
)
from .progress import telling
from .server_work import connect


def sync_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models present on a running server."""
    params = module.params
    names = transfer_names(params)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_reachable(params["models_path"]))
        client, pusher = stack.enter_context(connect(module)), stack.enter_context(connect(module, retries=0))
        tally = stack.enter_context(telling(module))
        stack.enter_context(naming_the_mirror(params))
        mirror = transfer_mirror(params)
        syncer = model_sync.Syncer(
            mirror,
            store,
            names,
            client=client,
            pusher=pusher,
            policy=RetryPolicy(params["retries"]),
            verify_always=params["verify"] == "always",
            options=transfer_options(params),
            wait=LockWait(module.warn),
            tally=tally,
        )
        plan = syncer.plan()
        if module.check_mode or not plan.changed:
            if store.exists and not module.check_mode:
                syncer.remember()
            return {**_synced(module, plan, syncer, None), **remarked(module, mirror)}
        try:
            plan = syncer.apply()
        except CollectionError as error:
            failures = syncer.report.failures or [error]
            error.result = {
                **partial_import(syncer.report),
                "blobs_pushed": len(syncer.report.pushed),
                "errors": [
                    {"digest": None, "status": None, **each.details, "error": str(each), "error_code": each.code}
                    for each in failures
                ],
            }
            raise
        return {**_synced(module, plan, syncer, syncer.report), **remarked(module, mirror)}


def _reachable(path: str) -> Store:
    """Return the store of a server, which may be where nobody can look into it from here."""
    settings = StoreSettings(path)
    try:
        return Store(settings)
    except DirectoryError as error:
        return Store.out_of_reach(settings, error.message)


def _synced(
    module: AnsibleModule, plan: Plan, syncer: model_sync.Syncer, report: Optional[model_sync.SyncReport]
) -> dict[str, Any]:
    pushed = len(report.pushed) if report else len(plan.of(ADD))
    return {
        **imported(module, plan, syncer.where, report),
        "blobs_pushed": pushed,
        "errors": [],
        "unverified": syncer.report.unverified,
    }
