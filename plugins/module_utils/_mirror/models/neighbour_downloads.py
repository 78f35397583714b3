# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Downloads of large blobs into a store, from neighbours and from the mirror."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

from ..._ollama.digests import blob_file_name
from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName
from ..._ollama.store import Store
from ..errors import MirrorAccessError, ObjectChangedError, ObjectMissingError
from ..peers.neighbour import FAILED, LIED
from ..peers.neighbourhood import Neighbourhood, summary
from ..peers.piece_file import PieceFile
from ..peers.piece_list import PieceList, PieceListError, has_pieces
from ..peers.swarm import Swarm
from ..transfer.bandwidth import Bandwidth
from ..transfer.blob_transfer import Transfer
from ..transfer.partial_file import PartialFile
from .import_report import ImportReport
from .wanted_models import WantedModels

#: The most downloaded files whose marks stay until the end. Each of them keeps a file open, and many systems allow
#: 1,024 open files. Neighbours fetch the blobs in the same order, so they want the last ones most.
MOST_MARKED = 128

#: Errors that concern one blob only.
_OF_ONE_BLOB = (ObjectChangedError, ObjectMissingError)


class NeighbourDownloads:
    """Downloads blobs with a list of pieces, one after the other.

    :param concurrency: the number of requests at the same time.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        wanted: WantedModels,
        store: Store,
        report: ImportReport,
        concurrency: int,
        bandwidth: Bandwidth,
    ) -> None:
        self._neighbourhood = neighbourhood
        self._wanted = wanted
        self._store = store
        self._report = report
        self._concurrency = concurrency
        self._bandwidth = bandwidth
        self._files: list[PieceFile] = []

    def lists(self, transfers: Sequence[Transfer]) -> dict[str, PieceList]:
        """Return the lists of pieces of the blobs that can come from neighbours, by digest.

        The report gets a warning for each blob that is large enough for a list but has no usable one.
        """
        found = {}
        for transfer in transfers:
            if not self._neighbourhood.neighbours or not has_pieces(transfer.size):
                continue
            if not isinstance(transfer.target, PartialFile):
                continue
            try:
                pieces = self._wanted.pieces(transfer.digest, transfer.size)
            # Without the right to list, S3 answers a request for a missing list as one for a forbidden object.
            except (PieceListError, MirrorAccessError) as error:
                self._report.warnings.append(f"{transfer.digest} comes from the mirror alone: {error}")
                continue
            if pieces is None:
                self._report.warnings.append(
                    f"{transfer.digest} comes from the mirror alone, because the mirror has no list of its pieces."
                    " Publish the model again with ollama_s3_publish, which adds the list"
                )
            else:
                found[transfer.digest] = pieces
        return found

    def run(
        self,
        transfers: Sequence[Transfer],
        lists: dict[str, PieceList],
        model_of: Callable[[str], str],
        on_bytes: Callable[[Transfer, int, bool], None],
        arrived: Callable[[Transfer], None],
    ) -> list[Transfer]:
        """Carry out transfers; return those that must come from the mirror alone, because their lists are wrong.

        :param model_of: returns the name of a model that uses the blob with a digest.
        :param on_bytes: receives a transfer, a number of bytes, and whether a neighbour sent them; on several threads.
        :param arrived: receives each transfer whose blob is in place.
        :raises CollectionError: an error that concerns all transfers.
        """
        try:
            return [
                transfer
                for transfer in transfers
                if not self._bring(transfer, lists[transfer.digest], model_of(transfer.digest), on_bytes, arrived)
            ]
        finally:
            self._report.neighbours = summary(self._neighbourhood.neighbours)
            self._report.warnings += self._accusations()

    def end(self) -> None:
        """Remove the marks of all downloaded files. Must be called when manifests name the blobs."""
        for file in self._files:
            file.end()
        self._files.clear()

    def _bring(
        self,
        transfer: Transfer,
        pieces: PieceList,
        model: str,
        on_bytes: Callable[[Transfer, int, bool], None],
        arrived: Callable[[Transfer], None],
    ) -> bool:
        """Carry out one transfer; return false if its list of pieces is wrong."""
        store, name = self._store, blob_file_name(transfer.digest)
        file = PieceFile(store.partials, name, pieces, store.ownership, store.blobs)
        transfer.resumed = file.begin([ModelName.parse(model).full])
        watch = self._neighbourhood.watch(pieces, file.importer)
        swarm = Swarm(
            transfer,
            file,
            watch,
            concurrency=self._concurrency,
            bandwidth=self._bandwidth,
            on_bytes=lambda count, from_neighbour: on_bytes(transfer, count, from_neighbour),
        )
        try:
            if file.lacking:
                watch.start()
                swarm.run()
        except PieceListError as error:
            file.discard()
            return self._must_come_alone(error)
        except _OF_ONE_BLOB as error:
            error.details.setdefault("digest", transfer.digest)
            transfer.error = error
            file.suspend()
            return True
        except BaseException:
            file.suspend()
            raise
        finally:
            watch.stop()
            transfer.received += swarm.from_mirror + swarm.from_neighbours
            self._report.bytes_from_neighbours += swarm.from_neighbours
        try:
            right = file.digest() == transfer.digest
            if right:
                file.commit()
        except BaseException:
            file.suspend()
            raise
        if not right:
            file.discard()
            return self._must_come_alone(None, transfer.digest)
        self._files.append(file)
        if len(self._files) > MOST_MARKED:
            self._files.pop(0).end()
        arrived(transfer)
        return True

    def _must_come_alone(self, error: Optional[CollectionError], digest: str = "") -> bool:
        why = str(error) if error else f"The list of pieces of {digest} in the mirror belongs to other content"
        self._report.warnings.append(f"{why}. The blob was read from the mirror alone")
        return False

    def _accusations(self) -> Iterator[str]:
        for neighbour in self._neighbourhood.neighbours:
            if neighbour.verdict == LIED:
                yield (
                    f"The neighbour {neighbour.name} {neighbour.trouble}, and was not asked again. Check the disk of"
                    " that node: ollama_s3_import with verify=always finds and replaces a damaged blob there"
                )
        others = [neighbour for neighbour in self._neighbourhood.neighbours if not neighbour.itself]
        if others and all(neighbour.verdict == FAILED for neighbour in others):
            ((trouble, count),) = Counter(neighbour.trouble for neighbour in others).most_common(1)
            yield (
                f"No neighbour could be used: {count} of {len(others)} failed with the same problem, {trouble}. The"
                " result lists all of them (peers)"
            )
