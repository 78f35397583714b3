# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_publish: copy models from a store to the mirror, or remove them from the mirror."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models import model_publish
from .._mirror.models.model_removal import Removal, plan_removal
from .._mirror.models.plan import ADD, KEEP, REPLACE
from .._mirror.s3.mirror import Mirror
from .._mirror.signing.keys import PrivateKey
from .._ollama.errors import CollectionError
from .._ollama.store import Store, StoreSettings
from .progress import reported_progress
from .s3_options import DeclaredModels, endpoint_in_failures, max_bandwidth, server_remarks
from .s3_results import average_rate, carried_out, removed


@dataclass(frozen=True)
class PublishOptions:
    """The options of a task.

    :ivar max_bandwidth: bytes a second; None for no limit.
    :ivar signer: signs the models; None leaves them unsigned.
    """

    declared: DeclaredModels
    store: StoreSettings
    max_bandwidth: Optional[int]
    pieces: bool
    signer: Optional[PrivateKey]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> PublishOptions:
        """Read the parameters of the module.

        :raises CollectionError: for an invalid value.
        """
        return cls(
            declared=DeclaredModels.from_params(params),
            store=StoreSettings(params["models_path"]),
            max_bandwidth=max_bandwidth(params),
            pieces=params["pieces"],
            signer=_signer(params),
        )


def _signer(params: Mapping[str, Any]) -> Optional[PrivateKey]:
    path = params["signing_key"]
    return PrivateKey.load(path, params["signing_key_passphrase"]) if path and params["state"] == "present" else None


def publish_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models of a store present in the mirror, or absent from the mirror."""
    options = PublishOptions.from_params(module.params)
    declared = options.declared
    mirror = Mirror(declared.mirror)
    url = mirror.settings.url(mirror.layout.root)
    if declared.absent:
        with endpoint_in_failures(declared.mirror):
            plan = plan_removal(mirror, declared.names)
            removal = Removal() if module.check_mode else carried_out(mirror, plan)
        return removed(module, plan, url, removal)
    with Store(options.store) as store, reported_progress() as counter, endpoint_in_failures(declared.mirror):
        publisher = model_publish.ModelPublisher(
            mirror,
            store,
            declared.names,
            prune=declared.prune_scope,
            max_bandwidth=options.max_bandwidth,
            pieces=options.pieces,
            counter=counter,
            signer=options.signer,
        )
        plan = publisher.plan()
        if plan.changed and not module.check_mode:
            try:
                publisher.apply(plan)
            except CollectionError as error:
                error.result = {
                    "changed": publisher.report.changed,
                    "blobs_uploaded": len(publisher.report.uploaded),
                    "bytes_uploaded": publisher.report.bytes_sent,
                }
                raise
    report = publisher.report
    return {
        **removed(module, plan, url, report.removal),
        **server_remarks(module, mirror),
        "blobs_uploaded": len(plan.of(ADD, REPLACE)),
        "signed": [name.short for name in plan.signed],
        "blobs_skipped": sum(not blob.reason for blob in plan.of(KEEP)),
        "bytes_uploaded": plan.bytes_to_transfer,
        "piece_lists": len(plan.pieces),
        "replaced": [{"digest": blob.digest, "reason": blob.reason} for blob in plan.of(REPLACE)],
        "seconds": round(report.seconds, 3),
        "rate": average_rate(report.bytes_sent, report.seconds),
    }
