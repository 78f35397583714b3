# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_s3_publish: models of a store in the mirror."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models import model_publish
from .._mirror.models.model_removal import Removal, carry_out_removal, plan_removal
from .._mirror.models.plan import ADD, KEEP, REPLACE
from .._mirror.s3.mirror import Mirror
from .._mirror.s3.settings import S3Settings
from .._ollama.errors import CollectionError
from .._ollama.names import ModelName
from .._ollama.store import Store, StoreSettings
from .groups import s3_settings
from .progress import reported_progress
from .s3_options import endpoint_in_failures, max_bandwidth, model_names, prune_scope, server_remarks
from .s3_results import average_rate, removed


@dataclass(frozen=True)
class PublishOptions:
    """What a task asks for.

    :ivar absent: the models are to be removed from the mirror.
    :ivar max_bandwidth: bytes a second; None for no limit.
    """

    names: list[ModelName]
    absent: bool
    prune_scope: list[str]
    store: StoreSettings
    mirror: S3Settings
    max_bandwidth: Optional[int]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> PublishOptions:
        """Read the parameters of the module.

        :raises CollectionError: for a value that makes no sense.
        """
        absent = params["state"] == "absent"
        return cls(
            names=model_names(params),
            absent=absent,
            prune_scope=[] if absent else prune_scope(params),
            store=StoreSettings(params["models_path"]),
            mirror=s3_settings(params),
            max_bandwidth=max_bandwidth(params),
        )


def publish_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models of a store present in the mirror, or absent from the mirror."""
    options = PublishOptions.from_params(module.params)
    mirror = Mirror(options.mirror)
    url = mirror.settings.url(mirror.layout.root)
    if options.absent:
        with endpoint_in_failures(options.mirror):
            plan = plan_removal(mirror, options.names)
            removal = Removal() if module.check_mode else carry_out_removal(mirror, plan)
        return removed(module, plan, url, removal)
    with Store(options.store) as store, reported_progress(module) as counter, endpoint_in_failures(options.mirror):
        publisher = model_publish.ModelPublisher(
            mirror,
            store,
            options.names,
            prune=options.prune_scope,
            max_bandwidth=options.max_bandwidth,
            counter=counter,
        )
        plan = publisher.plan()
        if plan.changed and not module.check_mode:
            try:
                publisher.apply(plan)
            except CollectionError as error:
                error.result = {
                    "changed": bool(publisher.report.uploaded),
                    "blobs_pushed": len(publisher.report.uploaded),
                    "bytes_uploaded": publisher.report.bytes_sent,
                }
                raise
    report = publisher.report
    return {
        **removed(module, plan, url, report.removal),
        **server_remarks(module, mirror),
        "blobs_pushed": len(plan.of(ADD, REPLACE)),
        "blobs_skipped": sum(not blob.reason for blob in plan.of(KEEP)),
        "bytes_uploaded": plan.bytes_to_transfer,
        "replaced": [{"digest": blob.digest, "reason": blob.reason} for blob in plan.of(REPLACE)],
        "seconds": round(report.seconds, 3),
        "rate": average_rate(report.bytes_sent, report.seconds),
    }
