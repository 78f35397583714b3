# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to each request, as a list of events, and one function that says what was lost or doubled, and why.

Whoever drives a test records what can be seen: a simulation sees everything, a test with a real broker what the
requester sees. The less is known, the less the reason says; what counts as lost or doubled is always the same.

- *Lost*: the broker had taken the request, the request has not expired, and no answer has come.
- *Doubled*: more than one answer has come. That is allowed where a fault explains it (or the requester asked twice),
  and all answers but one say that the request was delivered before.
- *Too early*: a request was acknowledged before the broker had its answer. Nothing needs to be lost by it this time.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


class Happened(enum.Enum):
    """The events of a request, or of its environment."""

    #: The broker has taken the request.
    SENT = "sent"
    #: A worker was given the request.
    DELIVERED = "delivered"
    #: A worker has sent an answer.
    ANSWERED = "answered"
    #: The broker has taken the answer, or has said that nobody wants it.
    CONFIRMED = "confirmed"
    #: A worker has acknowledged the request.
    ACKED = "acked"
    #: The requester has an answer.
    RECEIVED = "received"
    #: The request was in its queue for longer than it may.
    EXPIRED = "expired"
    #: The request has left its queue in another way than by an acknowledgement.
    DROPPED = "dropped"
    #: Something was broken on purpose.
    FAULT = "fault"


@dataclass(frozen=True)
class Event:
    """One event.

    :ivar what: what it is.
    :ivar request: which request it happened to; empty for a fault.
    :ivar at: when, seconds of any clock.
    :ivar where: the worker, or what was broken.
    :ivar detail: such as why a request was dropped, or the code of an error that was the answer.
    :ivar marked: of an answer, whether it says that its request was delivered before.
    """

    what: Happened
    request: str
    at: float = 0.0
    where: str = ""
    detail: str = ""
    marked: bool = False

    def __str__(self) -> str:
        marked = " (marked)" if self.marked else ""
        return f"{self.at:10.3f} {self.what.value:9} {self.request} {self.where} {self.detail}{marked}".rstrip()


@dataclass(frozen=True)
class Finding:
    """A violation, or an irregularity that a fault must explain.

    :ivar kind: ``lost``, ``doubled`` or ``too early``.
    :ivar why: in words, as far as the events tell.
    """

    kind: str
    request: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.request}: {self.why}"


@dataclass
class Verdict:
    """The verdict on a history.

    :ivar findings: what must not happen.
    :ivar explained: what faults, or the requester, explain.
    """

    sent: int = 0
    answered: int = 0
    expired: int = 0
    repeated: int = 0
    longest_gap: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    explained: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        figures = f"sent {self.sent}, answered {self.answered}, expired {self.expired}, repeated {self.repeated}"
        return "\n".join([f"{figures}, longest gap {self.longest_gap:.1f} s", *map(str, self.findings)])


class History:
    """The events of a run, in their order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(
        self,
        what: Happened,
        request: str = "",
        at: float = 0.0,
        where: str = "",
        detail: str = "",
        marked: bool = False,
    ) -> None:
        self.events.append(Event(what, request, at, where, detail, marked))

    def of(self, request: str) -> list[Event]:
        """Return the events of a request, and the faults during it."""
        return [event for event in self.events if event.request in ("", request)]


def judge(events: Iterable[Event], *, deaths_allowed: bool = False) -> Verdict:
    """Return the lost and doubled requests, with reasons.

    :param deaths_allowed: whether faults may have used up the deliveries that a queue allows.
    """
    verdict = Verdict()
    by_request: dict[str, list[Event]] = {}
    faults: list[Event] = []
    last_answer = 0.0
    for event in events:
        if event.what is Happened.FAULT:
            faults.append(event)
        else:
            by_request.setdefault(event.request, []).append(event)
        if event.what is Happened.RECEIVED:
            verdict.longest_gap = max(verdict.longest_gap, event.at - last_answer if last_answer else 0.0)
            last_answer = event.at
    for request, own in by_request.items():
        counts = Counter(event.what for event in own)
        verdict.sent += counts[Happened.SENT]
        if not counts[Happened.SENT]:
            continue
        if counts[Happened.RECEIVED]:
            verdict.answered += 1
            verdict.repeated += counts[Happened.RECEIVED] - 1
            _judge_repeats(request, own, counts, faults, verdict)
        elif counts[Happened.EXPIRED]:
            verdict.expired += 1
        else:
            finding = Finding("lost", request, _why_lost(own))
            died = any(event.detail == "delivery_limit" for event in own)
            (verdict.explained if died and deaths_allowed else verdict.findings).append(finding)
        _judge_order(request, own, counts, verdict)
    return verdict


def _judge_repeats(
    request: str, own: list[Event], counts: Counter[Happened], faults: list[Event], verdict: Verdict
) -> None:
    answers = [event for event in own if event.what is Happened.RECEIVED]
    more = len(answers) - 1
    if more < 1:
        return
    unmarked = sum(not event.marked for event in answers)
    asked_again = counts[Happened.SENT] > 1
    text = f"{len(answers)} answers, {unmarked} of them unmarked"
    if unmarked > counts[Happened.SENT]:
        verdict.findings.append(Finding("doubled", request, f"{text}: only one may be"))
    elif asked_again:
        verdict.explained.append(
            Finding("doubled", request, f"{text}; the requester asked {counts[Happened.SENT]} times")
        )
    elif not any(fault.at <= answers[-1].at for fault in faults):
        verdict.findings.append(Finding("doubled", request, f"{text}, and nothing was broken before the last of them"))
    else:
        verdict.explained.append(Finding("doubled", request, text))


def _judge_order(request: str, own: list[Event], counts: Counter[Happened], verdict: Verdict) -> None:
    """A request that was asked once must not be acknowledged before the broker has its answer."""
    if counts[Happened.SENT] != 1 or not counts[Happened.CONFIRMED] + counts[Happened.RECEIVED]:
        return
    for event in own:
        if event.what in (Happened.CONFIRMED, Happened.RECEIVED):
            return
        if event.what is Happened.ACKED:
            why = f"acknowledged by {event.where or 'a worker'} before the broker had an answer"
            verdict.findings.append(Finding("too early", request, why))
            return


def _why_lost(own: list[Event]) -> str:
    """Describe the progress of an unanswered request."""
    seen = {event.what for event in own}
    last = own[-1]
    dropped = next((event for event in own if event.what is Happened.DROPPED), None)
    if Happened.ACKED in seen and Happened.CONFIRMED not in seen:
        return "acknowledged, and its answer never was with the broker"
    if dropped is not None:
        number = sum(event.what is Happened.DELIVERED for event in own)
        return f"dropped by its queue ({dropped.detail}) after {number} deliveries that a worker has seen"
    if Happened.CONFIRMED in seen:
        return "its answer was with the broker, and did not come out"
    if Happened.ANSWERED in seen:
        return "answered, and the answer never was with the broker"
    if Happened.DELIVERED in seen:
        return f"delivered, last to {last.where or 'a worker'}, and never answered"
    return "never delivered, as far as is known"
