# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries a broadcast out: checks whether the node allows it, then imports from the node's own mirror.

A broadcast can name a model and nothing else. Where the model comes from, where it goes to and which names are allowed
is the node's own configuration; a message that contradicts it is refused. A stranger who may write to the
exchange can thus only make a node fetch a model that it is meant to have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .._fleet.broadcasts import DONE, FAILED, IMPORT, BroadcastRefusedError, NodeReport, Order
from .._mirror.models.model_import import ModelImport
from .._mirror.models.plan import ADD, KEEP, REPLACE
from .._mirror.s3.mirror import Mirror
from .._mirror.s3.settings import S3Settings
from .._mirror.signing.policy import SignaturePolicy
from .._mirror.transfer.options import TransferOptions
from .._ollama.errors import CollectionError
from .._ollama.names import ModelName
from .._ollama.patterns import matches_any
from .._ollama.store import Store, StoreSettings
from ..logs.log import Log

LOG = Log()

#: Fields about the mirror in LegionIO's messages, each with the setting that it must equal.
_MIRROR = {"bucket": "bucket", "prefix": "prefix", "endpoint": "endpoint_url"}

#: No signature is looked at.
NOTHING_DEMANDED = SignaturePolicy()


class BroadcastImporter:
    """Carries broadcasts out.

    :param models: patterns of the models that may be imported, at least one.
    :param transfer: how to use the network, and which neighbours there are.
    :param signatures: which of them must be signed.
    """

    def __init__(
        self,
        node: str,
        mirror: S3Settings,
        store: StoreSettings,
        models: tuple[str, ...],
        transfer: Optional[TransferOptions] = None,
        signatures: SignaturePolicy = NOTHING_DEMANDED,
    ) -> None:
        if not models:
            raise ValueError("without a pattern every model would be allowed")
        self._node = node
        self._mirror = mirror
        self._store = store
        self._models = models
        self._transfer = transfer
        self._signatures = signatures
        self._leaving = False

    def leave(self) -> None:
        """Note that the process ends: an import under way may fail; the redelivered broadcast repeats it."""
        self._leaving = True

    def check(self, order: Order) -> ModelName:
        """Return the model that a broadcast names.

        :raises BroadcastRefusedError: when it is not allowed here.
        :raises InvalidNameError: when it is not a name.
        """
        name = ModelName.parse(order.model)
        if not matches_any(name, self._models):
            raise BroadcastRefusedError(
                f"The model {order.model} is not one that {self._node} may import",
                remedy="Add it to the patterns of its updates (models)",
            )
        for key, setting in _MIRROR.items():
            if key in order.others and order.others[key] != getattr(self._mirror, setting):
                raise BroadcastRefusedError(
                    f"The broadcast names another mirror ({key}), and {self._node} imports from its own only",
                    remedy=f"Leave {key} out of the message",
                )
        return name

    def carry_out(self, order: Order) -> NodeReport:
        """Import, or report what an import would do. Every outcome gives a report."""
        try:
            name = self.check(order)
            with Store(self._store) as store:
                mirror = Mirror(self._mirror)
                importer = ModelImport(mirror, store, [name], options=self._transfer)
                importer.demand_signatures(self._signatures)
                plan = importer.plan()
                if order.function == IMPORT and plan.changed:
                    plan = importer.apply()
                elif order.function == IMPORT:
                    importer.remember()
                for warning in (*plan.warnings, *importer.report.warnings, *mirror.remarks):
                    LOG.warning("update", function=order.function, model=name.short, warning=warning)
                change = plan.models[0]
                result: Mapping[str, Any] = {
                    "changed": plan.changed,
                    "model": name.short,
                    "before": change.before,
                    "after": change.after.digest if change.after else None,
                    "blobs_downloaded": len(plan.of(ADD, REPLACE)),
                    "blobs_skipped": len(plan.of(KEEP)),
                    "bytes": plan.bytes_to_transfer,
                    **({"bytes_from_peers": importer.report.bytes_from_neighbours} if self._transfer else {}),
                }
            LOG.info("update", function=order.function, **result)
            return NodeReport(self._node, DONE, result)
        except CollectionError as error:
            LOG.error("update_failed", function=order.function, model=order.model[:200], error=str(error))
            return NodeReport(self._node, FAILED, error={"code": error.code, "message": str(error)})
        except Exception as error:  # a defect of ours; the message must not come back to meet it again
            if self._leaving:
                LOG.info("update_broken_off", function=order.function)
            else:
                LOG.exception("defect", function=order.function)
            return NodeReport(
                self._node, FAILED, error={"code": "defect", "message": f"{type(error).__name__}: {error}"}
            )
