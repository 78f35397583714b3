# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of malformed messages beside valid ones, with a verdict after each round.

Everything odd comes from a seed: message number 17 of the seed ``s`` is made by ``Random("s:17")`` and nothing else, so
``FUZZ_SEED=s FUZZ_ONLY=17`` sends exactly that one again.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import pika
from fleet_parts import channel_to

from .odd_drafts import OddMessage
from .raw_publisher import RawPublisher, RefusedByBrokerError
from .reply_queues import Arrival, ReplyQueues
from .requesters import Record

#: Messages of a round, the honest ones among them. All of them fit into any lane.
ROUND = 48

#: Connections for messages that the broker may refuse. It takes its time to end one.
LONE = 8

#: Every so many messages of a round is an honest one.
HONEST_EVERY = 6

#: Seconds for what takes well under one, on a machine that does other things too.
PATIENCE = 90.0

#: The same, while a message is searched that makes a round fail.
SEARCH_PATIENCE = 12.0


class Subject(Protocol):
    """The process that receives the messages."""

    queues: Sequence[str]

    def start(self) -> None:
        """Start a new process, and wait until it serves."""

    def stop(self) -> list[str]:
        """End the process as systemd does; return its faults."""

    def discard(self) -> None:
        """End the process in any way."""

    def new_log(self) -> bytes:
        """Return the lines logged since the last call."""

    def busy(self) -> str:
        """Return its running work; empty if it is idle."""

    def ailments(self) -> list[str]:
        """Return its broken functions."""

    def resident(self) -> int:
        """Return its resident memory in bytes."""

    def odd(self, random: Random, reply_to: str, correlation_id: str) -> OddMessage:
        """Return an odd message."""

    def honest(self, number: int, reply_to: str, correlation_id: str) -> OddMessage:
        """Return an honest message."""

    def hanging(self, reply_to: str) -> Sequence[OddMessage]:
        """Return messages that are at work until :meth:`let_go`."""

    def let_go(self) -> None:
        """Let the hanging messages end."""

    def ends(self, arrival: Arrival) -> bool:
        """Whether an answer is the last one to its message."""

    def is_right(self, arrival: Arrival) -> bool:
        """Whether an answer is the one that an honest message gets."""


#: Events in a log that one message must not cause.
ALARMS = (
    *("event=connection_lost", "event=channel_closed", "event=cannot_connect", "event=cannot_answer"),
    *("event=broken", "event=defect", "event=lane_lost", "event=queue_lost", "event=queue_refused"),
    *("event=model_broken", "Traceback"),
)


@dataclass
class Totals:
    """The observations of a campaign."""

    sent: int = 0
    refused: int = 0
    answered: int = 0
    oddities: Counter[str] = field(default_factory=Counter)
    usual: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median time of an honest message beside odd ones, in units of that beside honest ones."""
        return statistics.median(self.beside) / statistics.median(self.usual)

    def __str__(self) -> str:
        oddities = ", ".join(f"{name} {count}" for name, count in sorted(self.oddities.items()))
        return (
            f"{self.sent} odd messages ({self.refused} refused by the broker, {self.answered} answered);"
            f" {len(self.beside)} honest ones beside them: median {1000 * statistics.median(self.beside):.0f} ms,"
            f" beside honest ones {1000 * statistics.median(self.usual):.0f} ms, ratio {self.ratio:.2f}; {oddities}"
        )


class Campaign:
    """Sends messages to a running subject, and judges their outcomes.

    :param seed: the seed of all odd messages.
    """

    def __init__(self, broker: Any, subject: Subject, seed: str) -> None:
        self._broker = broker
        self._subject = subject
        self._seed = seed
        self._publisher = RawPublisher(broker)
        #: For messages that may cost their connection.
        self._lone = [RawPublisher(broker) for _one in range(LONE)]
        self._replies = ReplyQueues(broker, ROUND + 1)
        #: Lines of the log of the subject that should not be there.
        self._alarms: list[str] = []
        self.totals = Totals()

    def close(self) -> None:
        for publisher in (self._publisher, *self._lone):
            publisher.close()
        self._replies.close()

    def usual(self, rounds: int) -> None:
        """Send honest messages alone, to measure their time."""
        for _one in range(rounds):
            problems, times = self._round([], ROUND)
            if problems:
                raise AssertionError("Honest messages alone: " + "; ".join(problems))
            self.totals.usual += times

    def round(self, numbers: Iterable[int]) -> None:
        """Send the odd messages with these numbers, honest ones among them.

        :raises AssertionError: with the faults, and the number of the message that reproduces them.
        """
        self._judge_round(list(numbers))

    def round_over_a_restart(self, numbers: Iterable[int]) -> None:
        """The same, and the subject is ended and started again while the messages come."""
        self._judge_round(list(numbers), restart=True)

    def _judge_round(self, numbers: list[int], restart: bool = False) -> None:
        problems, times = self._round(numbers, max(1, len(numbers) // (HONEST_EVERY - 1)), restart=restart)
        if not restart:
            self.totals.beside += times
        if problems:
            culprits = self._culprits(numbers)
            replay = f"FUZZ_SEED={self._seed} FUZZ_ONLY={','.join(map(str, culprits))}"
            made = "\n".join(f"  {number}: {self.message(number, self._replies.names[0])}" for number in culprits[:3])
            raise AssertionError("\n".join([*problems, f"Again with {replay}", made]))

    def message(self, number: int, reply_to: str) -> OddMessage:
        """Return an odd message."""
        return self._subject.odd(Random(f"{self._seed}:{number}"), reply_to, f"odd-{number}")

    def _round(
        self, numbers: Sequence[int], honest: int, patience: float = PATIENCE, restart: bool = False
    ) -> tuple[list[str], list[float]]:
        """Return the faults, and the time of each honest message."""
        record = Record()
        names = self._replies.names
        self._replies.take()
        odd = {name: self.message(number, name) for name, number in zip(names, numbers)}
        mark = uuid.uuid4().hex[:8]
        fair = {
            f"{mark}-{position}": self._subject.honest(position, names[ROUND], f"{mark}-{position}")
            for position in range(honest)
        }
        for name in fair:
            record.sent(name)
        hanging = self._subject.hanging("llm.fleet.reply.nobody") if numbers else []
        refused = self._send_refusable(odd)
        begun = time.monotonic()
        problems = self._send(odd, list(fair.values()), hanging)
        if restart:
            problems += self._restart()
        owed = {name for name, message in odd.items() if message.answered and name not in refused}
        try:
            arrivals = self._wait(lambda seen: len(self._fair(seen)) >= len(fair), patience)
            answers = self._fair(arrivals)
            if len(answers) < len(fair):
                problems.append(f"{len(fair) - len(answers)} honest messages were not answered while an odd one hung")
        finally:
            self._subject.let_go()
        arrivals = self._wait(lambda seen: owed <= self._answered(seen), patience)
        answered = self._answered(arrivals)
        problems += [f"No answer to {odd[name]}" for name in sorted(owed - answered)]
        problems += [
            f"{odd[arrival.queue]} was answered {arrival.body[:300]!r}"
            for arrival in arrivals
            if arrival.queue in odd and odd[arrival.queue].served and not self._is_right_end(arrival)
        ]
        problems += [
            f"{odd[arrival.queue]} was carried out: {arrival.body[:300]!r}"
            for arrival in arrivals
            if arrival.queue in odd and odd[arrival.queue].forbidden and self._subject.is_right(arrival)
        ]
        problems += [
            f"The honest message {name} was answered {answer.body[:300]!r}"
            for name, answer in answers.items()
            if not self._subject.is_right(answer)
        ]
        problems += self._settle(patience)
        for arrival in self._wait(lambda _seen: True, 0.0):
            if arrival.queue == names[ROUND] and self._subject.ends(arrival):
                record.received(arrival.properties)
        problems += map(str, record.verdict().findings)
        self.totals.answered += len(answered & odd.keys())
        return problems, [answer.at - begun for answer in answers.values()]

    def _restart(self) -> list[str]:
        """Stop the subject and start it again; return the faults."""
        self._subject.let_go()
        problems = self._subject.stop()
        self._look_at_log()
        self._subject.start()
        return problems

    def _send_refusable(self, odd: Mapping[str, OddMessage]) -> set[str]:
        """Publish messages that the broker may refuse one by one; return the reply queues of the refused ones."""
        chosen = [(name, message) for name, message in odd.items() if message.refusable]
        refused = set()

        def publish(position: int) -> None:
            for name, message in chosen[position :: len(self._lone)]:
                try:
                    self._lone[position].publish([message.wire])
                except RefusedByBrokerError:
                    refused.add(name)

        with ThreadPoolExecutor(len(self._lone)) as pool:
            list(pool.map(publish, range(len(self._lone))))
        self.totals.refused += len(refused)
        return refused

    def _send(
        self, odd: Mapping[str, OddMessage], fair: Sequence[OddMessage], hanging: Sequence[OddMessage]
    ) -> list[str]:
        """Publish all other messages together, honest ones among the odd ones; return the faults."""
        self.totals.sent += len(odd)
        for message in odd.values():
            self.totals.oddities.update(message.oddities)
        together = [message.wire for message in hanging]
        waiting = iter(fair)
        for position, message in enumerate(message for message in odd.values() if not message.refusable):
            if position % (HONEST_EVERY - 1) == 0:
                together += [one.wire for one in itertools.islice(waiting, 1)]
            together += [message.wire] * message.copies
        together += [message.wire for message in waiting]
        try:
            self._publisher.publish(together)
        except RefusedByBrokerError as error:
            return [f"The broker has not taken all of a round: {error}"]
        return []

    def _wait(self, enough: Callable[[list[Arrival]], bool], patience: float) -> list[Arrival]:
        """Wait for answers, but not after a fault; return them."""
        deadline = time.monotonic() + patience
        while True:
            arrivals = self._replies.wait(enough, 0.5)
            self._look_at_log()
            if enough(arrivals) or self._alarms or self._subject.ailments() or time.monotonic() > deadline:
                return arrivals

    def _look_at_log(self) -> None:
        for content in self._subject.new_log().split(b"\n"):
            line = content.decode(errors="replace")
            forged = not line.isprintable() or "\ufffd" in line or not line.startswith("time=")
            if line and (forged or any(alarm in line for alarm in ALARMS)):
                self._alarms.append(repr(line) if forged else line)

    def _settle(self, patience: float) -> list[str]:
        """Wait until the round is over; return the faults."""
        deadline = time.monotonic() + patience
        while True:
            ailments = self._subject.ailments()
            left = [] if ailments else [*filter(None, [self._subject.busy()]), *self._waiting()]
            self._look_at_log()
            if ailments or self._alarms or not left or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        alarms, self._alarms = self._alarms, []
        return [*ailments, *(f"Not settled: {one}" for one in left), *(f"Logged: {line[:1500]}" for line in alarms[:5])]

    def _waiting(self) -> list[str]:
        """Return the number of messages in the queues of the subject."""
        with channel_to(self._broker) as channel:
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                channel.queue_purge("ollama.dlx.queue")
            counts = {
                name: channel.queue_declare(name, passive=True).method.message_count for name in self._subject.queues
            }
        return [f"{count} messages in {name}" for name, count in counts.items() if count]

    def _culprits(self, numbers: Sequence[int]) -> list[int]:
        """Return the fewest messages that still make a round fail, by halves; each try has a fresh process."""
        chosen = list(numbers)
        while len(chosen) > 1:
            middle = len(chosen) // 2
            for half in (chosen[:middle], chosen[middle:]):
                self._start_afresh()
                if self._round(half, 1, SEARCH_PATIENCE)[0]:
                    chosen = half
                    break
            else:
                break
        return chosen

    def _start_afresh(self) -> None:
        """Restart the subject with empty queues."""
        self._subject.discard()
        with channel_to(self._broker) as channel:
            for name in self._subject.queues:
                channel.queue_delete(name)  # with what an ended process had of it
        self._subject.start()

    def _fair(self, arrivals: list[Arrival]) -> dict[str, Arrival]:
        """Return the answers to honest messages, each by its correlation id."""
        return {
            arrival.properties.correlation_id: arrival
            for arrival in arrivals
            if arrival.queue == self._replies.names[ROUND] and self._subject.ends(arrival)
        }

    def _is_right_end(self, arrival: Arrival) -> bool:
        return not self._subject.ends(arrival) or self._subject.is_right(arrival)

    def _answered(self, arrivals: list[Arrival]) -> set[str]:
        return {arrival.queue for arrival in arrivals if self._subject.ends(arrival)}
