# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution of a broadcast: check whether the node allows the model, then import it from the node's mirror.

A broadcast can only name a model. The node's configuration decides about the mirror, the store and the allowed names,
and the node refuses a message that contradicts it. So a stranger who may write to the exchange can only make a node
fetch a model that it may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .._fleet.broadcasts import DONE, FAILED, IMPORT, BroadcastRefusedError, NodeReport, Order
from .._mirror.models.model_import import ModelImport
from .._mirror.models.plan import ADD, KEEP, REPLACE
from .._mirror.peers.neighbour import GOOD
from .._mirror.s3.mirror import Mirror
from .._mirror.s3.settings import S3Settings
from .._mirror.signing.policy import SignaturePolicy
from .._mirror.support.format import in_bytes
from .._mirror.transfer.options import TransferOptions
from .._ollama.byte_counter import ByteCounter
from .._ollama.errors import CollectionError
from .._ollama.names import ModelName
from .._ollama.patterns import matches_any
from .._ollama.store import Store, StoreSettings
from ..logs.log import Log

LOG = Log()

#: Fields about the mirror in LegionIO's messages, each with the setting that it must equal.
_MIRROR = {"bucket": "bucket", "prefix": "prefix", "endpoint": "endpoint_url"}

#: The most neighbours in a report: first those that failed or lied, then those that sent most bytes.
PEERS = 20

#: The policy that checks no signatures.
NOTHING_DEMANDED = SignaturePolicy()


class BroadcastImporter:
    """Carries broadcasts out.

    :param models: patterns of the allowed models, at least one.
    :param transfer: the use of the network, and the neighbours.
    :param signatures: the policy for signatures.
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
        self._counter = ByteCounter()

    @property
    def progress(self) -> str:
        """The progress of the running import, for the status of the unit; empty while the import moves no bytes."""
        reading = self._counter.read()
        if not reading.total:
            return ""
        near = f", {in_bytes(reading.near)} from neighbours" if reading.near else ""
        return f"{in_bytes(reading.done)} of {in_bytes(reading.total)}{near}"

    def leave(self) -> None:
        """Note that the process ends, so that a running import may fail. The redelivered broadcast repeats it."""
        self._leaving = True

    def check(self, order: Order) -> ModelName:
        """Return the model that a broadcast names.

        :raises BroadcastRefusedError: if the node does not allow the model.
        :raises InvalidNameError: if the name is invalid.
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
        """Import the model, or find out what an import would do. Return a report after every outcome."""
        self._counter = ByteCounter()
        try:
            name = self.check(order)
            with Store(self._store) as store:
                mirror = Mirror(self._mirror)
                importer = ModelImport(mirror, store, [name], options=self._transfer, counter=self._counter)
                importer.demand_signatures(self._signatures)
                plan = importer.plan()
                if order.function == IMPORT and plan.changed:
                    plan = importer.apply()
                elif order.function == IMPORT:
                    importer.remember()
                done = importer.report
                for warning in (*plan.warnings, *done.warnings, *done.removal.warnings, *mirror.remarks):
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
                    **({"bytes_from_peers": done.bytes_from_neighbours} if self._transfer else {}),
                }
                peers = sorted(done.neighbours, key=lambda one: one["state"] == GOOD)
            LOG.info("update", function=order.function, **result)
            return NodeReport(self._node, DONE, {**result, **({"peers": peers[:PEERS]} if self._transfer else {})})
        except CollectionError as error:
            LOG.error("update_failed", function=order.function, model=order.model[:200], error=str(error))
            return NodeReport(self._node, FAILED, error={"code": error.code, "message": str(error)})
        except Exception as error:  # a defect of the worker, which a redelivered message would meet again
            if self._leaving:
                LOG.info("update_broken_off", function=order.function)
            else:
                LOG.exception("defect", function=order.function)
            return NodeReport(
                self._node, FAILED, error={"code": "defect", "message": f"{type(error).__name__}: {error}"}
            )
