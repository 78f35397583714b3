# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The updates of a node as the target of the fuzzer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Optional

from fleet_worker._fleet.broadcasts import queue_of
from fleet_worker._mirror.signing.keys import PrivateKey
from updater_parts import Signer, Updater, updates_configuration

from .fuzzed_worker import complete_lines, resident
from .odd_drafts import OddMessage
from .odd_orders import honest_order, odd_order
from .odd_signatures import Keys, copied, honest_signed_order, odd_signed_order
from .reply_queues import Arrival

NODE = "gpu-01"


class FuzzedUpdater:
    """A real process of `fleet-worker updates`.

    :param mirror: the settings of a mirror that has the model of the honest broadcasts.
    :param directory: for its files.
    :param options: more configuration.
    """

    queues: Sequence[str] = (queue_of(NODE),)

    def __init__(self, broker: Any, mirror: Any, directory: Path, **options: Any) -> None:
        self._broker = broker
        self._mirror = mirror
        self._directory = directory
        self._options = options
        self._numbers = itertools.count()
        self._read = 0
        self._process: Optional[Updater] = None

    @property
    def updater(self) -> Updater:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        self.discard()
        directory = self._directory / f"fuzzed-{next(self._numbers)}"
        models = self._directory / "models"
        configuration, secrets = updates_configuration(self._broker, self._mirror, models, node=NODE, **self._options)
        self._read = 0
        self._process = Updater(directory, configuration, secrets)
        self._process.wait_log("event=listening")

    def stop(self) -> list[str]:
        self.updater.process.terminate()
        status = self.updater.process.wait(90)
        return [] if status == 0 else [f"The updates ended with status {status} on SIGTERM"]

    def discard(self) -> None:
        if self._process is not None:
            self._process.process.kill()
            self._process.close(show_log=False)
            self._process = None

    def new_log(self) -> bytes:
        content = complete_lines(self.updater.log_path, self._read)
        self._read += len(content)
        return content

    def busy(self) -> str:
        return ""

    def ailments(self) -> list[str]:
        status = self.updater.process.poll()
        return [] if status is None else [f"The updates ended with status {status}"]

    def resident(self) -> int:
        return resident(self.updater.process.pid)

    def odd(self, random: Random, reply_to: str, correlation_id: str) -> OddMessage:
        return odd_order(random, reply_to, correlation_id)

    def honest(self, number: int, reply_to: str, correlation_id: str) -> OddMessage:
        return honest_order(reply_to, correlation_id)

    def hanging(self, reply_to: str) -> Sequence[OddMessage]:
        return []

    def let_go(self) -> None:
        """Nothing hangs: broadcasts are carried out one after the other."""

    def ends(self, arrival: Arrival) -> bool:
        return b'"state":"accepted"' not in arrival.body

    def is_right(self, arrival: Arrival) -> bool:
        return b'"state":"done"' in arrival.body


class SignedUpdater(FuzzedUpdater):
    """The same with a node that demands signatures.

    One of twelve odd broadcasts is the copy of an honest one that the node has carried out before.
    """

    def __init__(self, broker: Any, mirror: Any, directory: Path) -> None:
        signers = Signer(directory / "known"), Signer(directory / "unknown")
        super().__init__(broker, mirror, directory, broadcasts=signers[0].broadcasts)
        self._keys = Keys(*(PrivateKey.load(str(signer.path)) for signer in signers))
        self._carried_out: Optional[OddMessage] = None
        self._latest: Optional[OddMessage] = None

    def odd(self, random: Random, reply_to: str, correlation_id: str) -> OddMessage:
        # A new round: the node has reported on the honest broadcasts of the last round.
        if self._latest is not None:
            self._carried_out, self._latest = self._latest, None
        if random.random() < 1 / 12 and self._carried_out is not None:
            return copied(self._carried_out, reply_to)
        return odd_signed_order(random, self._keys, reply_to, correlation_id)

    def honest(self, number: int, reply_to: str, correlation_id: str) -> OddMessage:
        self._latest = honest_signed_order(self._keys, reply_to, correlation_id)
        return self._latest
