# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to each request, as a list of events, and one function that says what was lost or doubled, and why.

Whoever drives a test records what can be seen: a simulation sees everything, a test with a real broker what the
requester sees. The less is known, the less the reason says; what counts as lost or doubled is always the same.

- *Lost*: the broker had taken the request, the request has not expired, and no answer has come. A request that its
  queue dropped after too many deliveries is lost, too, unless so many costly faults came during its life.
- *Failed*: an error has come instead of an answer, and no fault during the request's life explains an error with its
  code.
- *Doubled*: more than one answer has come. That is allowed where a fault explains it (or the requester asked twice),
  and all answers but one say that the request was delivered before. A fault explains it that was there between the
  request and the last of its answers.
- *Too early*: a request was acknowledged before the broker had its answer. Nothing needs to be lost by it this time.
- *Starved*: a request was the next one of its lane for too long, with no fault in its life, and was not delivered.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional


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
    #: The queue has the request back, and nothing was broken for that: a worker has returned it, or its consumer had
    #: been cancelled.
    RETURNED = "returned"
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


#: Stands for every code of an error.
ANY = "*"

#: The header of an answer that is an error: its code.
ERROR_HEADER = "x-legion-fleet-error"


def error_code(headers: Optional[Mapping[str, Any]]) -> str:
    """Return the code of the error that a message is, by its headers; nothing for an answer."""
    return str((headers or {}).get(ERROR_HEADER, ""))


@dataclass(frozen=True)
class Event:
    """One event.

    :ivar what: what it is.
    :ivar request: which request it happened to; empty for a fault.
    :ivar at: when, seconds of any clock.
    :ivar where: the worker, or what was broken; of a request that is sent, its lane.
    :ivar detail: of a fault, its kind; of an answer, the code of the error that it is, or nothing; else such as why a
        request was dropped.
    :ivar marked: of an answer, whether it says that its request was delivered before.
    :ivar seconds: of a fault, how long it lasts, with what follows from it; of a request that is sent, how long its
        requester waits, 0 for ever.
    """

    what: Happened
    request: str
    at: float = 0.0
    where: str = ""
    detail: str = ""
    marked: bool = False
    seconds: float = 0.0

    def __str__(self) -> str:
        marked = " (marked)" if self.marked else ""
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:10.3f} {self.what.value:9} {self.request} {self.where} {self.detail}{marked}{lasts}".rstrip()

    def touches(self, since: float, until: float) -> bool:
        """Whether a fault was there at any time of a span."""
        return self.at <= until and self.at + self.seconds >= since


@dataclass(frozen=True)
class Finding:
    """A violation, or an irregularity that a fault must explain.

    :ivar kind: ``lost``, ``failed``, ``doubled``, ``too early`` or ``starved``.
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

    :ivar answered: requests with an answer, or an error.
    :ivar errors: how many requests have only an error, by its code.
    :ivar findings: what must not happen.
    :ivar explained: what faults, or the requester, explain.
    """

    sent: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    expired: int = 0
    repeated: int = 0
    longest_gap: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    explained: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        errors = ", ".join(f"{number} {code}" for code, number in sorted(self.errors.items())) or "none"
        figures = (
            f"sent {self.sent}, answered {self.answered}, errors {errors}, expired {self.expired},"
            f" repeated {self.repeated}, longest gap {self.longest_gap:.1f} s"
        )
        return "\n".join([figures, *map(str, self.findings)])


@dataclass(frozen=True)
class Rules:
    """What a history is judged by. Without rules no error is explained, nor a death, and lanes may wait for ever.

    :ivar errors: codes of errors that faults may explain, each with the kinds of faults; no kinds: any fault does;
        None: the request itself is the reason. The code :data:`ANY` stands for all that are not named.
    :ivar too_late: the code of an error that nobody has to explain once the requester does not wait any more.
    :ivar used_up: the code of an error for which a worker has no delivery left; what explains a death explains it.
    :ivar costly: kinds of faults by which a queue takes deliveries back, and counts that: each with the most deliveries
        of one request that it costs.
    :ivar delivery_limits: how often the queue of a lane delivers a request again; where nothing is said, no fault
        explains that a queue drops a request for it.
    :ivar starved_after: seconds for which the next request of a lane may wait when nothing is broken.
    """

    errors: Mapping[str, Optional[Collection[str]]] = field(default_factory=dict)
    too_late: str = ""
    used_up: str = ""
    costly: Mapping[str, int] = field(default_factory=dict)
    delivery_limits: Mapping[str, int] = field(default_factory=dict)
    starved_after: Optional[float] = None


#: The rules of those who only see requests and answers, and explain no error.
STRICT = Rules()


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
        seconds: float = 0.0,
    ) -> None:
        self.events.append(Event(what, request, at, where, detail, marked, seconds))

    def of(self, request: str) -> list[Event]:
        """Return the events of a request, and the faults during it."""
        return [event for event in self.events if event.request in ("", request)]


def judge(events: Iterable[Event], rules: Rules = STRICT) -> Verdict:
    """Return the requests that were lost, failed, doubled or starved, with reasons."""
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
        life = _Life(own, faults)
        if counts[Happened.RECEIVED]:
            verdict.answered += 1
            verdict.repeated += counts[Happened.RECEIVED] - 1
            _judge_error(request, life, rules, verdict)
            _judge_repeats(request, life, counts, verdict)
        elif counts[Happened.EXPIRED]:
            verdict.expired += 1
        else:
            finding = Finding("lost", request, _why_lost(own))
            (verdict.explained if life.may_die(rules) else verdict.findings).append(finding)
        _judge_order(request, own, counts, verdict)
    if rules.starved_after is not None:
        _judge_starvation(by_request, faults, rules.starved_after, verdict)
    return verdict


#: By what a request is no longer in its queue for the first time.
_LEAVES = frozenset({Happened.DELIVERED, Happened.EXPIRED, Happened.DROPPED})


class _Life:
    """The events of a request, from the first time that it was sent, and the faults that were there meanwhile."""

    def __init__(self, own: list[Event], faults: list[Event]) -> None:
        self.events = own
        self.sent = next(event for event in own if event.what is Happened.SENT)
        # A simulation has the confirm of a request for its sending, and a worker may have it before.
        since = min(event.at for event in own)
        self._faults = [fault for fault in faults if fault.at + fault.seconds >= since]
        #: Those who had the request; a fault without a place concerns everybody.
        self._places = {"", *(event.where for event in own)}

    def faults_until(self, until: float) -> list[Event]:
        return [fault for fault in self._faults if fault.at <= until]

    def concerned(self, until: float) -> list[Event]:
        """Return the faults of those who had the request."""
        return [fault for fault in self.faults_until(until) if fault.where in self._places]

    def costs(self, until: float, rules: Rules) -> int:
        """Return how often the queue may have had the request back, at most."""
        returned = sum(event.what is Happened.RETURNED and event.at <= until for event in self.events)
        return returned + sum(rules.costly.get(fault.detail, 0) for fault in self.concerned(until))

    def may_die(self, rules: Rules) -> bool:
        """Whether its queue may have dropped it for the number of its deliveries.

        Never if a worker gave it back last: it knew that this was the last delivery, and could have answered.
        """
        limit = rules.delivery_limits.get(self.sent.where)
        dropped = next((event for event in self.events if event.detail == "delivery_limit"), None)
        if limit is None or dropped is None:
            return False
        before = self.events[self.events.index(dropped) - 1]
        given_back = before.what is Happened.RETURNED and before.where
        return not given_back and self.costs(dropped.at, rules) > limit

    def explains(self, error: Event, rules: Rules) -> bool:
        """Whether a fault explains an error, or the requester does not wait for anything else any more."""
        waits = self.sent.seconds
        if waits and error.detail == rules.too_late and error.at >= self.sent.at + waits - LATE:
            return True
        if error.detail == rules.used_up:
            limit = rules.delivery_limits.get(self.sent.where)
            return limit is not None and self.costs(error.at, rules) >= limit
        code = error.detail if error.detail in rules.errors else ANY
        if code not in rules.errors:
            return False
        kinds = rules.errors[code]
        return kinds is None or any(not kinds or fault.detail in kinds for fault in self.concerned(error.at))


#: Seconds before its time is over in which a request may be given up, so that its error is there in time.
LATE = 1.0


def _judge_error(request: str, life: _Life, rules: Rules, verdict: Verdict) -> None:
    """An error is no answer. If an answer has come as well, the requester has what it wants."""
    answers = [event for event in life.events if event.what is Happened.RECEIVED]
    if not all(event.detail for event in answers):
        return
    error = answers[0]
    verdict.errors[error.detail] += 1
    why = f"the answer is the error {error.detail}, {error.at - life.sent.at:.1f} s later"
    (verdict.explained if life.explains(error, rules) else verdict.findings).append(Finding("failed", request, why))


def _judge_repeats(request: str, life: _Life, counts: Counter[Happened], verdict: Verdict) -> None:
    answers = [event for event in life.events if event.what is Happened.RECEIVED]
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
    elif not life.faults_until(answers[-1].at):
        verdict.findings.append(Finding("doubled", request, f"{text}, and nothing was broken before the last of them"))
    else:
        verdict.explained.append(Finding("doubled", request, text))


def _judge_starvation(
    by_request: dict[str, list[Event]], faults: list[Event], starved_after: float, verdict: Verdict
) -> None:
    """The next request of a lane must not wait for long. One that others precede in its lane waits for them, too."""
    lanes: dict[str, list[tuple[float, float, str, str]]] = {}
    for request, own in by_request.items():
        sent = next((event for event in own if event.what is Happened.SENT), None)
        left = next((event for event in own if event.what in _LEAVES), None)
        if sent is not None and left is not None:
            lanes.setdefault(sent.where, []).append((left.at, sent.at, request, left.what.value))
    for waits in lanes.values():
        before = 0.0
        for left_at, sent_at, request, how in sorted(waits):
            waited = left_at - max(sent_at, before)
            if waited > starved_after and not any(fault.touches(sent_at, left_at) for fault in faults):
                why = f"{how} after {waited:.1f} s in which it was the next of its lane, and nothing was broken"
                verdict.findings.append(Finding("starved", request, why))
            before = left_at


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
