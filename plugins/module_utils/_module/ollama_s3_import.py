# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_import: copy models from the mirror to a store on disk, or remove them from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models.model_import import ModelImport
from .._mirror.models.model_removal import Removal, plan_removal
from .._mirror.signing.policy import SignaturePolicy
from .._mirror.state.lock import LockWait, exclusive
from .._mirror.transfer.options import TransferOptions
from .._ollama.errors import CollectionError
from .._ollama.names import spellings
from .._ollama.store import Store, StoreSettings
from .groups import signature_policy, store_settings
from .progress import reported_progress
from .s3_options import DeclaredModels, OptionError, endpoint_in_failures, mirror_of, server_remarks, transfer_options
from .s3_results import carried_out, from_peers, imported, partial_import, removed


@dataclass(frozen=True)
class ImportOptions:
    """The options of a task.

    :ivar lock_timeout: seconds to wait for another importer.
    :ivar elsewhere: whether the store is on another machine, so that only a plan is possible.
    """

    declared: DeclaredModels
    store: StoreSettings
    transfer: TransferOptions
    verify_always: bool
    signatures: SignaturePolicy
    lock_timeout: float
    elsewhere: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ImportOptions:
        """Read the parameters of the module.

        :raises CollectionError: for an invalid value.
        """
        return cls(
            declared=DeclaredModels.from_params(params),
            store=store_settings(params),
            transfer=transfer_options(params),
            verify_always=params["verify"] == "always",
            signatures=signature_policy(params),
            lock_timeout=params["lock_timeout"],
            elsewhere=params["elsewhere"],
        )

    def open_store(self, *, check_mode: bool) -> Store:
        """Open the store, or an empty one in its place if the store is on another machine.

        :raises OptionError: if the task would write to a store on another machine.
        """
        if not self.elsewhere:
            return Store(self.store)
        if not check_mode:
            raise OptionError(
                f"elsewhere says that {self.store.path} is on another machine, to which this task cannot write",
                remedy="Run the task in check mode (check_mode: true), or omit elsewhere",
            )
        return Store.out_of_reach(self.store, "it is on another machine")


def import_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models present in a store, or absent from it."""
    options = ImportOptions.from_params(module.params)
    declared = options.declared
    if declared.absent:
        with Store(options.store) as store, reported_progress():
            return _remove_from_store(module, store, options)
    here = options.open_store(check_mode=module.check_mode)
    with here as store, reported_progress() as counter, endpoint_in_failures(declared.mirror):
        mirror = mirror_of(declared.mirror, options.transfer)
        importer = ModelImport(
            mirror,
            store,
            declared.names,
            prune=declared.prune_scope,
            verify_always=options.verify_always,
            options=options.transfer,
            wait=LockWait(module.warn, options.lock_timeout),
            counter=counter,
        )
        importer.demand_signatures(options.signatures)
        plan = importer.plan()
        if module.check_mode or not plan.changed:
            if not module.check_mode:
                importer.remember()
            return {
                **imported(module, plan, store.path, None),
                **from_peers(importer.report),
                **server_remarks(module, mirror),
            }
        try:
            plan = importer.apply()
        except CollectionError as error:
            error.result = {**partial_import(importer.report), **from_peers(importer.report)}
            raise
        return {
            **imported(module, plan, store.path, importer.report),
            **from_peers(importer.report),
            **server_remarks(module, mirror),
        }


def _remove_from_store(module: AnsibleModule, store: Store, options: ImportOptions) -> dict[str, Any]:
    present = store.names()
    # For Ollama, all spellings are the same model, and it would continue to serve a spelling that stays.
    names = [found for name in options.declared.names for found in spellings(name, present) or [name]]
    plan = plan_removal(store, names)
    removal = Removal()
    if plan.changed:
        store.must_be_writable()
    if plan.changed and not module.check_mode:
        with exclusive(store.workspace, store.ownership, module.warn, within=options.lock_timeout):
            plan = plan_removal(store, names)
            removal = carried_out(store, plan)
    return removed(module, plan, store.path, removal)
