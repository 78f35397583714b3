# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of the fleet worker: what it costs beside Ollama, and what its scheduler gains.

Contestants are asked by one client process (crowd.py) that rotates them request by request, or burst by burst where
many requests are in flight: blocks one after the other would measure the mood of the disk. All have the same guarantees
and quorum lanes of their own on one real RabbitMQ (peer_workers.py).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

import services
from crowd import Answer, Ask, Asks, Crowd
from fleet_bench import LANES, Fleet, Nearby, Running, direct
from fleet_parts import CHAT_MODEL, EMBED_MODEL
from report import Finding, Goal
from rounds import Contestant, Sample, take_turns

MESSAGES = [{"role": "user", "content": "Hello"}]

#: The goals of the issue that asked for the worker, in the order of its table.
_OVER_FLOOR = 1.25
_NOT_SLOWER = 1.0
_OVER_LOOP = 1.2
_OVER_CELERY = 2.0
_OVER_SINGLE = 2.0
_SHARE_OF_ARRAYS = 0.85
_OVER_FIFO = 3.0
_SHARE_OF_DIRECT = 0.95
_IDLE_CPU = 1.0
_IDLE_MEMORY = 150_000_000
_IDLE_START = 10.0
_GROWTH = 0.05

#: How far apart two vectors of one text may be: the lengths are 1, and arrays are added up in another order.
_TOLERANCE = 1e-3

#: Requests before anything is measured, of every contestant.
_WARM_UP = 20

_OURS = "fleet worker"
_PEERS = {"aio": "aio-pika + aiohttp loop", "celery": "Celery", "faststream": "FastStream"}

_STUB = (
    "An instant stub in place of Ollama, quorum lanes on RabbitMQ 4.0, answers published with confirm and mandatory,"
    " requests acknowledged last."
)


def single(fleet: Fleet) -> Finding:
    """One request at a time: what the worker adds to broker, interpreter and HTTP client.

    The floor is an echo consumer on pika's asynchronous adapter, with the same guarantees, plus one direct call to the
    stub with the worker's own HTTP client: nothing that takes requests from a broker to Ollama can do with less.
    """
    names = _models("ours", LANES)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fleet.stub(names))
        ours = stack.enter_context(fleet.ours(url, _lanes(names), concurrency=1))
        echo = stack.enter_context(fleet.peer("echo", url, _lanes(_models("echo", LANES)), 1))
        spoken = stack.enter_context(fleet.peer("echo-typed", url, _lanes(_models("echo-typed", LANES)), 1))
        peers = [stack.enter_context(fleet.peer(kind, url, _lanes(_models(kind, LANES)), 1)) for kind in _PEERS]
        crowd = stack.enter_context(fleet.crowd())
        client = Nearby(url)

        def call() -> Sample:
            start = time.perf_counter()
            client.chat(model=names[0], messages=MESSAGES)
            return Sample(time.perf_counter() - start)

        contestants = [
            _asked(_OURS, crowd, ours),
            _asked("echo consumer", crowd, echo),
            Contestant("direct call", call),
            *(_asked(name, crowd, peer) for name, peer in zip(_PEERS.values(), peers)),
            _asked("echo consumer, an answer of the protocol", crowd, spoken),
        ]
        _rotate(contestants, fleet.given.requests, [ours, echo, None, *peers, spoken])
    mine, echoed, called, *others, protocol = contestants
    return Finding(
        "single",
        f"One request at a time, {LANES} lanes",
        f"{_STUB} Each request goes to the next lane. Processor time is that of the worker for one request.",
        contestants,
        [_over_floor(mine, echoed, called), *(_at_least(_NOT_SLOWER, other, mine) for other in others)],
        [
            (
                "The echo consumer sends the request back; all others answer in the protocol, which costs an echo "
                f"consumer {1000 * (protocol.median() - echoed.median()):.2f} ms more. Ours takes "
                f"{mine.median() / (protocol.median() + called.median()):.2f} times as long as that and a direct call."
            )
        ],
    )


def inflight(fleet: Fleet) -> Finding:
    """32 requests in flight, spread evenly over all lanes, 16 slots."""
    return _in_flight(fleet, "inflight", LANES)


def inflight_hot(fleet: Fleet) -> Finding:
    """32 requests in flight on one of the lanes, 16 slots: one model is asked for, as is usual."""
    return _in_flight(fleet, "inflight-hot", 1)


def _in_flight(fleet: Fleet, case: str, busy: int, flight: int = 32, slots: int = 16) -> Finding:
    names = _models("ours", LANES)
    burst = fleet.given.burst
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fleet.stub(names))
        ours = stack.enter_context(fleet.ours(url, _lanes(names), concurrency=slots))
        peers = [stack.enter_context(fleet.peer(kind, url, _lanes(_models(kind, LANES)), slots)) for kind in _PEERS]
        crowd = stack.enter_context(fleet.crowd())
        everybody = [ours, *peers]
        contestants = [
            Contestant(name, _burst(crowd, running, burst, flight, 0 if busy == 1 else None))
            for name, running in zip([_OURS, *_PEERS.values()], everybody)
        ]
        for contestant in contestants:
            contestant.run()
        take_turns(contestants, fleet.given.rounds)
    mine, loop, task, _stream = contestants
    where = "one lane" if busy == 1 else f"all {busy} lanes in turn"
    return Finding(
        case,
        f"{flight} requests in flight on {'one of ' if busy == 1 else ''}{LANES} lanes, {slots} slots",
        f"{_STUB} Bursts of {burst} requests to {where}; each answer triggers the next request.",
        contestants,
        [_at_least(_OVER_LOOP, loop, mine), _at_least(_OVER_CELERY, task, mine)],
        [f"{contestant.name}: {burst / contestant.median():.0f} requests a second" for contestant in contestants],
    )


def embed(fleet: Fleet) -> Finding:
    """32 requesters of one embedding each, real MiniLM, with and without micro-batching, beside direct arrays of 32.

    Both workers have the defaults but for that setting; one request is in flight for every requester, and all are on
    one lane. Direct arrays go one after the other, with the worker's client: whoever has 32 texts at once does that.
    """
    number = fleet.given.texts
    texts = [f"{subject} number {index}" for index, subject in zip(range(number), itertools.cycle(_SUBJECTS))]
    vectors: dict[str, dict[str, list[float]]] = {}
    lanes = [{"type": "embed", "model": EMBED_MODEL}]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_ollama()).url
        crowd = stack.enter_context(fleet.crowd())
        client = stack.enter_context(direct(url))

        def through(name: str, **others: Any) -> Contestant:
            # One worker at a time: both would take from the lane.
            running = contextlib.ExitStack()

            def before() -> None:
                running.close()
                worker = running.enter_context(fleet.ours(url, lanes, **others))
                state["worker"] = worker
                crowd.run(worker.target, _asks(_embedding, texts[:32]), 32)

            def run() -> Sample:
                worker = state["worker"]
                used = worker.cpu()
                seconds, answers = crowd.run(worker.target, _asks(_embedding, texts), 32)
                used = worker.cpu() - used
                running.close()
                vectors[name] = {answer.ask.body["input"]: _vector(answer) for answer in answers}
                return Sample(seconds, used)

            state: dict[str, Running] = {}
            stack.callback(running.close)
            return Contestant(name, run, before)

        def arrays() -> Sample:
            seen = {}
            start = time.perf_counter()
            for first in range(0, number, 32):
                some = texts[first : first + 32]
                seen.update(zip(some, client.embed(model=EMBED_MODEL, input=some)["embeddings"]))
            seconds = time.perf_counter() - start
            vectors["direct"] = seen
            return Sample(seconds)

        batched = through("fleet worker, micro-batching")
        alone = through("fleet worker, embed_batch.count 1", embed_batch={"count": 1})
        array = Contestant("direct, arrays of 32", arrays, lambda: _load(client, EMBED_MODEL))
        take_turns([batched, alone, array], fleet.given.rounds)
    # Two texts must not have one vector, or what follows would say nothing.
    assert math.dist(*(vectors["direct"][text] for text in texts[:2])) > 100 * _TOLERANCE
    apart = max(
        math.dist(vectors[name][text], vectors["direct"][text]) for name in (batched.name, alone.name) for text in texts
    )
    return Finding(
        "embed",
        "32 requesters of single embeddings, real MiniLM",
        f"{number} short texts a run, each a request of its own; {EMBED_MODEL} on this machine's processors.",
        [batched, alone, array],
        [
            _at_least(_OVER_SINGLE, alone, batched),
            _share_of(array, batched, _SHARE_OF_ARRAYS),
            Goal(f"vectors within {_TOLERANCE:g} of the direct ones", f"{apart:.1e}", apart <= _TOLERANCE),
        ],
    )


def swaps(fleet: Fleet) -> Finding:
    """Two models are asked for all the time, and Ollama may keep one: each change of model costs a load.

    First-in-first-out is the plain loop on the same two lanes with prefetch 1 and one slot, as ours has one: it takes
    what came first. Requesters ask again as soon as they have their answer, half of them for each model, so that both
    lanes always have somebody waiting.
    """
    seconds, half = fleet.given.seconds, 4
    lanes = [{"type": "chat", "model": CHAT_MODEL}, {"type": "embed", "model": EMBED_MODEL}]
    cap = 10.0
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_ollama(OLLAMA_MAX_LOADED_MODELS="1")).url
        crowd = stack.enter_context(fleet.crowd())
        client = stack.enter_context(direct(url))
        longest = max(_swap(client) for _turn in range(4))

        def measured(make: Callable[[], contextlib.AbstractContextManager[Running]]) -> Callable[[], Sample]:
            def run() -> Sample:
                with make() as running:
                    until = time.perf_counter() + seconds

                    def ask(number: int, answered: Optional[Answer]) -> Optional[Ask]:
                        if time.perf_counter() > until:
                            return None
                        # Who has been answered asks the same model again.
                        lane = number % 2 if answered is None else answered.ask.lane
                        return Ask(_embedding(f"number {number}") if lane else _short_chat(), lane)

                    used = running.cpu()
                    taken, answers = crowd.run(running.target, ask, 2 * half)
                    worst = max(answer.seconds for answer in answers)
                    return Sample(taken / len(answers), (running.cpu() - used) / len(answers), {"worst": worst})

            return run

        mine = Contestant(_OURS, measured(lambda: fleet.ours(url, lanes, concurrency=1, starvation=cap)))
        fifo = Contestant("first in, first out", measured(lambda: fleet.peer("aio", url, lanes, 1)))
        take_turns([mine, fifo], fleet.given.rounds)
    worst = mine.largest("worst")
    bound = cap + 2 * longest
    return Finding(
        "swaps",
        "Two models alternating, one fits",
        f"OLLAMA_MAX_LOADED_MODELS=1, {CHAT_MODEL} and {EMBED_MODEL}, {half} requesters each, runs of {seconds:g} s,"
        " one slot. The times are seconds for one request.",
        [mine, fifo],
        [
            _at_least(_OVER_FIFO, fifo, mine),
            Goal(
                f"no round trip longer than the starvation cap ({cap:g} s), the inference that runs then and its own",
                f"{worst:.1f} s of {bound:.1f} s",
                worst <= bound,
            ),
        ],
        [
            f"An inference that loads its model took up to {longest:.2f} s when asked directly.",
            f"The longest round trip of {fifo.name} was {fifo.largest('worst'):.1f} s.",
        ],
    )


def saturated(fleet: Fleet) -> Finding:
    """Real Ollama with all slots busy: the queue must not cost throughput.

    Direct: as many threads as there are slots, each with a call after the other, with the worker's client. Through the
    queue: twice as many requests in flight, so that somebody always waits.
    """
    slots, number = 4, fleet.given.chats
    lanes = [{"type": "chat", "model": CHAT_MODEL}]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_ollama(OLLAMA_NUM_PARALLEL=str(slots))).url
        crowd = stack.enter_context(fleet.crowd())
        client = stack.enter_context(direct(url))
        worker = stack.enter_context(fleet.ours(url, lanes, concurrency=slots))
        pool = stack.enter_context(ThreadPoolExecutor(slots))

        def through() -> Sample:
            used = worker.cpu()
            seconds, _answers = crowd.run(worker.target, _asks(_chat, range(number)), 2 * slots)
            return Sample(seconds, worker.cpu() - used)

        def straight() -> Sample:
            start = time.perf_counter()
            for _done in pool.map(lambda index: client.chat(model=CHAT_MODEL, **_chat(index)), range(number)):
                pass
            return Sample(time.perf_counter() - start)

        mine = Contestant(_OURS, through)
        others = Contestant(f"direct calls, {slots} at a time", straight)
        for contestant in (mine, others):
            contestant.run()
        take_turns([mine, others], fleet.given.rounds)
    return Finding(
        "saturated",
        f"Real Ollama, {CHAT_MODEL}, saturated",
        f"{number} chats of 32 tokens a run, {slots} at a time (OLLAMA_NUM_PARALLEL={slots}).",
        [mine, others],
        [_share_of(others, mine, _SHARE_OF_DIRECT)],
    )


def idle(fleet: Fleet) -> Finding:
    """200 lanes that nobody asks, then one of them busy, beside the same echo consumer on one lane."""
    names = _models("idle", 200)
    seconds = fleet.given.seconds
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fleet.stub(names))
        with fleet.ours(url, _lanes(names), concurrency=1) as first:
            fresh = first.started_in
        ours = stack.enter_context(fleet.ours(url, _lanes(names), concurrency=1))
        time.sleep(2)
        used = ours.cpu()
        time.sleep(seconds)
        busy = (ours.cpu() - used) / seconds * 100
        memory = ours.memory()
        echo = stack.enter_context(fleet.peer("echo", url, _lanes(_models("lone", 1)), 1))
        crowd = stack.enter_context(fleet.crowd())
        client = Nearby(url)

        def call() -> Sample:
            start = time.perf_counter()
            client.chat(model=names[0], messages=MESSAGES)
            return Sample(time.perf_counter() - start)

        contestants = [
            _asked("fleet worker, one of 200 lanes", crowd, ours, 0),
            _asked("echo consumer", crowd, echo),
            Contestant("direct call", call),
        ]
        _rotate(contestants, fleet.given.requests, [ours, echo, None])
    return Finding(
        "idle",
        "200 lanes, idle, and one of them busy",
        f"{_STUB} Idle for {seconds:g} s, registry events included; then one request at a time.",
        contestants,
        [
            Goal(f"idle: under {_IDLE_CPU:g} % of a processor", f"{busy:.2f} %", busy < _IDLE_CPU),
            Goal(f"under {_IDLE_MEMORY / 1e6:.0f} MB", f"{memory / 1e6:.0f} MB", memory < _IDLE_MEMORY),
            Goal(f"start in under {_IDLE_START:g} s", f"{fresh:.1f} s", fresh < _IDLE_START),
            _over_floor(*contestants),
        ],
        [
            f"The start declares 200 new quorum queues; when they are there it takes {ours.started_in:.1f} s.",
        ],
    )


def memory(fleet: Fleet) -> Finding:
    """Full load for minutes: memory must not grow.

    32 requests in flight on all lanes, 16 slots. Looked at every second; compared are the first ten seconds after the
    first minute and the last ten.
    """
    minutes = fleet.given.minutes
    names = _models("ours", LANES)
    seen: list[tuple[float, int]] = []
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fleet.stub(names))
        ours = stack.enter_context(fleet.ours(url, _lanes(names), concurrency=16))
        crowd = stack.enter_context(fleet.crowd())
        start = time.perf_counter()
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(1):
                seen.append((time.perf_counter() - start, ours.memory()))

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()

        number = 0

        def take(_answer: Answer) -> None:
            nonlocal number
            number += 1

        def ask(_number: int, _answered: Optional[Answer]) -> Optional[Ask]:
            over = time.perf_counter() - start > 60 * minutes
            return None if over else Ask({"messages": MESSAGES})

        used = ours.cpu()
        seconds, _kept = crowd.run(ours.target, ask, 32, take)
        used = ours.cpu() - used
        ended.set()
        watcher.join()
    settled = min(60.0, seconds / 2)
    early = statistics.median(size for at, size in seen if settled <= at <= settled + 10)
    late = statistics.median(size for at, size in seen if at >= seconds - 10)
    growth = late / early - 1
    contestant = Contestant(_OURS, lambda: Sample(seconds), samples=[Sample(seconds, used)])
    return Finding(
        "memory",
        f"{minutes:g} minutes at full load",
        f"{_STUB} 32 requests in flight on {LANES} lanes, 16 slots; {number / seconds:.0f} requests a second.",
        [contestant],
        [Goal(f"memory grows by less than {_GROWTH:.0%} after {settled:.0f} s", f"{growth:+.1%}", growth < _GROWTH)],
        [f"Resident memory was {early / 1e6:.1f} MB after {settled:.0f} s, {late / 1e6:.1f} MB in the end."],
    )


_SUBJECTS = ("apple", "river", "Mars", "jazz", "a cold morning", "the price of tin", "an old letter")


def _ollama(**settings: str) -> contextlib.AbstractContextManager[services.OllamaServer]:
    """A real Ollama, over the lab's models."""
    return services.ollama_server(services.model_store(), settings)


def _models(kind: str, number: int) -> list[str]:
    return [f"{kind}-{index:03}" for index in range(number)]


def _lanes(models: Sequence[str]) -> list[dict[str, Any]]:
    return [{"type": "chat", "model": model} for model in models]


def _chat(index: int) -> dict[str, Any]:
    """A chat that always has the same length."""
    messages = [{"role": "user", "content": f"Tell a long story about the number {index}."}]
    return {"messages": messages, "options": {"num_predict": 32, "temperature": 0, "seed": index}}


def _short_chat() -> dict[str, Any]:
    return {"messages": MESSAGES, "options": {"num_predict": 4, "temperature": 0}}


def _embedding(text: str) -> dict[str, Any]:
    return {"request_type": "embed", "input": text}


def _asks(make: Callable[[Any], dict[str, Any]], about: Sequence[Any]) -> Asks:
    return lambda number, _answered: Ask(make(about[number])) if number < len(about) else None


def _vector(answer: Answer) -> list[float]:
    (vector,) = json.loads(answer.body)["embeddings"]
    return list(vector)


def _load(client: Any, model: str) -> None:
    client.embed(model=model, input="load")


def _swap(client: Any) -> float:
    """Return the longer time of two inferences of two models, each of which loads its model."""
    times = []
    for call in (
        lambda: client.embed(model=EMBED_MODEL, input="one"),
        lambda: client.chat(model=CHAT_MODEL, **_short_chat()),
    ):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return max(times)


def _asked(name: str, crowd: Crowd, running: Running, lane: Optional[int] = None) -> Contestant:
    """A contestant that is asked one thing."""

    def run() -> Sample:
        _seconds, (answer,) = crowd.run(
            running.target, lambda number, _answered: None if number else Ask({"messages": MESSAGES}, lane)
        )
        return Sample(answer.seconds)

    return Contestant(name, run)


def _burst(crowd: Crowd, running: Running, number: int, flight: int, lane: Optional[int]) -> Callable[[], Sample]:
    def run() -> Sample:
        used = running.cpu()
        seconds, answers = crowd.run(
            running.target, lambda made, _answered: Ask({"messages": MESSAGES}, lane) if made < number else None, flight
        )
        assert len(answers) == number
        return Sample(seconds, running.cpu() - used)

    return run


def _rotate(contestants: Sequence[Contestant], requests: int, running: Sequence[Optional[Running]]) -> None:
    """Let the contestants take turns request by request; their processor time is the mean of all requests."""
    for contestant in contestants:
        for _warm in range(_WARM_UP):
            contestant.run()
    used = [one.cpu() if one else 0.0 for one in running]
    take_turns(contestants, requests, quiet=True)
    for contestant, one, before in zip(contestants, running, used):
        cpu = (one.cpu() - before) / requests if one else 0.0
        for sample in contestant.samples:
            sample.cpu = cpu


def _over_floor(mine: Contestant, echoed: Contestant, called: Contestant) -> Goal:
    floor = echoed.median() + called.median()
    found = mine.median() / floor
    return Goal(f"at most {_OVER_FLOOR:g}x {echoed.name} plus {called.name}", f"{found:.2f}x", found <= _OVER_FLOOR)


def _at_least(factor: float, other: Contestant, mine: Contestant) -> Goal:
    found = other.median() / mine.median()
    what = f"no slower than {other.name}" if factor == 1 else f"at least {factor:g}x as fast as {other.name}"
    return Goal(what, f"{found:.2f}x", found >= factor)


def _share_of(other: Contestant, mine: Contestant, least: float) -> Goal:
    share = other.median() / mine.median()
    return Goal(f"at least {least:.0%} of the throughput of {other.name}", f"{share:.0%}", share >= least)


#: In the order in which they run.
CASES: dict[str, Callable[[Fleet], Finding]] = {
    "single": single,
    "inflight": inflight,
    "inflight-hot": inflight_hot,
    "embed": embed,
    "swaps": swaps,
    "saturated": saturated,
    "idle": idle,
    "memory": memory,
}
