# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Downloads of blobs from the mirror into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.digests import blob_file_name
from ..._ollama.store import Store
from ..errors import WrongDigestError
from ..peers.neighbourhood import Neighbourhood
from ..transfer.bandwidth import Bandwidth
from ..transfer.blob_transfer import Target, Transfer
from ..transfer.engine import Engine
from ..transfer.options import TransferOptions
from ..transfer.partial_file import BLOCK, PartialFile, kept_bytes
from ..transfer.sources import ObjectSource
from .import_report import ImportReport
from .neighbour_downloads import NeighbourDownloads
from .plan import BlobChange
from .wanted_models import WantedModels


class BlobDownloads:
    """Downloads the blobs of some models, and counts their bytes.

    :param options: the use of the network. The bandwidth limit holds for all downloads together.
    :param counter: counts the bytes for the progress display.
    """

    def __init__(
        self, wanted: WantedModels, store: Store, options: TransferOptions, counter: ByteCounter, report: ImportReport
    ) -> None:
        self._wanted = wanted
        self._store = store
        self._concurrency = options.concurrency
        # Direct output writes whole blocks.
        self._chunk_size = -(-options.chunk_size // BLOCK) * BLOCK
        self._bandwidth = Bandwidth(options.max_bandwidth)
        self._counter = counter
        self._report = report
        self._neighbours = NeighbourDownloads(
            Neighbourhood(options.neighbours), wanted, store, report, options.concurrency, self._bandwidth
        )
        self._users: Mapping[str, str] = {}

    def expect(self, blobs: Sequence[BlobChange], users: Mapping[str, str]) -> None:
        """Announce the coming blobs to the byte counter.

        :param users: for the digest of each blob, the name of a model that uses it.
        """
        self._users = users
        if blobs:
            begun = kept_bytes(self._store.find_partials())
            kept = sum(begun.get(blob_file_name(blob.digest), 0) for blob in blobs)
            self._counter.expect(users[blobs[0].digest], sum(blob.size for blob in blobs), kept=kept)

    def transfer(self, blob: BlobChange, target: Optional[Target] = None) -> Transfer:
        """Return the transfer of a blob from the mirror.

        :param target: by default, a partial file in the store, for which this process must be able to write blobs.
        """
        return Transfer(blob.digest, blob.size, self._wanted.source(blob), target or self._partial_file(blob))

    def _partial_file(self, blob: BlobChange) -> PartialFile:
        name = blob_file_name(blob.digest)
        store = self._store
        return PartialFile(store.partials, name, blob.size, store.ownership, store.blobs, name)

    def run(self, transfers: Sequence[Transfer], arrived: Callable[[Transfer], None]) -> None:
        """Carry out some transfers. An error that concerns only one blob is stored in the ``error`` of its transfer.

        :param arrived: receives each transfer whose blob is in place, on several threads.
        :raises CollectionError: any other error.
        """
        lists = self._neighbours.lists(transfers)
        try:
            # The small blobs come first, because they are few bytes, and the progress then shows only the large ones.
            self._run_alone([transfer for transfer in transfers if transfer.digest not in lists], arrived)
            shared = [transfer for transfer in transfers if transfer.digest in lists]
            rest = self._neighbours.run(shared, lists, self._users.__getitem__, self._count, arrived)
            self._run_alone(rest, arrived)
        finally:
            self._store.sync_blobs()
            self._neighbours.end()
            self._report.bytes_received += sum(transfer.received for transfer in transfers)
            self._report.bytes_resumed += sum(transfer.resumed for transfer in transfers)
        for transfer in transfers:
            if isinstance(transfer.error, WrongDigestError) and isinstance(transfer.source, ObjectSource):
                transfer.source.name_damage(transfer.error)

    def _run_alone(self, transfers: Sequence[Transfer], arrived: Callable[[Transfer], None]) -> None:
        """Carry out transfers without neighbours."""
        if transfers:
            Engine(
                concurrency=self._concurrency,
                chunk_size=self._chunk_size,
                bandwidth=self._bandwidth,
                on_bytes=self._count,
                on_done=arrived,
            ).run(transfers)

    def _count(self, transfer: Transfer, count: int, from_neighbour: bool = False) -> None:
        self._counter.add(count, self._users[transfer.digest], from_neighbour=from_neighbour)
