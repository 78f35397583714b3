# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of malformed messages beside valid ones: none affects other requests.

``make fuzz`` sends 20,000 to the worker on each series of RabbitMQ and a third of that to the updates, from a seed of
its own, and judges times too. ``FUZZ_MESSAGES`` says how many, ``FUZZ_SEED`` what they are made from, and
``FUZZ_ONLY`` the numbers of the only ones to send. ``make test`` sends few, always the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from depth import DEEP
from fleet_parts import ScriptedOllama, channel_to, delete_queues
from mirror_lab import Model, new_bucket

from .campaign import HONEST_EVERY, ROUND, Campaign, Subject
from .fuzzed_updater import FuzzedUpdater, SignedUpdater
from .fuzzed_worker import FuzzedWorker
from .odd_orders import MODEL

MESSAGES = int(os.environ.get("FUZZ_MESSAGES") or (20_000 if DEEP else 320))
SEED = os.environ.get("FUZZ_SEED") or "1"
ONLY = [int(number) for number in os.environ.get("FUZZ_ONLY", "").split(",") if number]

#: From this number of messages on, honest ones are also timed: few say little on a machine that does other things.
TIMED = 5000

#: How much longer an honest message may take beside odd ones than beside honest ones.
RATIO = 2.0

#: Bytes by which a process may have grown at the end.
GROWTH = 160 * 1024 * 1024

#: Odd messages in a round.
ODD = ROUND * (HONEST_EVERY - 1) // HONEST_EVERY


def rounds(messages: int) -> Iterator[Sequence[int]]:
    """Return the numbers of the odd messages of each round."""
    if ONLY:
        yield ONLY
        return
    for first in range(0, messages, ODD):
        yield range(first, min(first + ODD, messages))


def judge(campaign: Campaign, subject: Subject, broker: Any, before: int) -> None:
    """Check the subject after all messages, and end it."""
    grown = subject.resident() - before
    print(f"FUZZ_SEED={SEED}: {campaign.totals}; {grown / 2**20:.0f} MiB more resident")
    assert grown < GROWTH, f"{grown} bytes of memory more than before"
    assert subject.stop() == []
    with channel_to(broker) as channel:
        left = {name: channel.queue_declare(name, passive=True).method.message_count for name in subject.queues}
    assert not any(left.values()), f"messages were not settled: {left}"
    if campaign.totals.sent >= TIMED:
        assert campaign.totals.ratio < RATIO


@pytest.mark.every_version
def test_worker_with_malformed_messages_answers_every_valid_one(
    shared_broker: Any, scripted: ScriptedOllama, tmp_path: Path
) -> None:
    print(f"FUZZ_SEED={SEED}")
    subject = FuzzedWorker(shared_broker, scripted, tmp_path)
    campaign = Campaign(shared_broker, subject, SEED)
    try:
        subject.start()
        campaign.usual(2)
        before = subject.resident()
        for position, numbers in enumerate(rounds(MESSAGES)):
            campaign.round(numbers)
            if position % 8 == 0:
                assert subject.read_configuration_again(position) == []
            if position % 50 == 1:
                subject.have_odd_inventories(Random(f"{SEED}:inventories:{position}"), 3)
            if position % 50 == 2:
                campaign.round_over_a_restart(numbers)
                before = subject.resident()
        judge(campaign, subject, shared_broker, before)
    finally:
        campaign.close()
        subject.discard()


@pytest.mark.every_version
@pytest.mark.parametrize("target", [FuzzedUpdater, SignedUpdater], ids=["any", "signed"])
def test_updates_with_malformed_broadcasts_report_every_valid_one(
    target: type[FuzzedUpdater], shared_broker: Any, s3: Any, tmp_path: Path
) -> None:
    print(f"FUZZ_SEED={SEED}")
    mirror = new_bucket(s3)
    Model(MODEL, [b"weights", b"template"]).publish(Mirror(mirror))
    subject = target(shared_broker, mirror, tmp_path)
    campaign = Campaign(shared_broker, subject, SEED)
    try:
        subject.start()
        campaign.usual(1)
        before = subject.resident()
        for position, numbers in enumerate(rounds(MESSAGES // 3)):
            campaign.round(numbers)
            if position % 50 == 1:
                campaign.round_over_a_restart(numbers)
                before = subject.resident()
        judge(campaign, subject, shared_broker, before)
    finally:
        campaign.close()
        subject.discard()
        delete_queues(shared_broker, "ollama.s3_models.")
