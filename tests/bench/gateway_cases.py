# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of the gateway: what it costs beside the queue that is behind it, and beside LiteLLM's proxy.

LiteLLM's proxy has no queue: it asks the same stub by itself. All clients are in one process (http_crowd.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import services
import yaml
from crowd import Ask
from fleet_bench import EXCHANGE, HERE, Fleet, Running, direct
from fleet_parts import CHAT_MODEL
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.broker_connection import BrokerConnection
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Question
from fleet_worker._fleet.requester import Requester
from gateway_parts import GatewayProcess
from http_crowd import HttpClient, Reply, burst, together
from report import Finding, Goal
from rounds import Contestant, Sample, take_turns

MODEL = "gateway-000"
MESSAGES = [{"role": "user", "content": "Hello"}]
COMPLETIONS = "/v1/chat/completions"
CHAT = {"model": MODEL, "messages": MESSAGES}

#: The goals of the issue that asked for the gateway.
_ADDED = 0.002
_OVER_LITELLM = 3.0
_STREAMS = 300
_IDLE_MEMORY = 80_000_000
_REQUESTS = 20_000
_GROWTH = 0.05
_OVER_PLAIN = 2.0
_AT_HOME = 0.9

_WARM_UP = 50
_START = 180.0

_OURS, _LITELLM, _DIRECT = "gateway, queue and worker", "LiteLLM's proxy", "direct call"

_QUEUE = (
    "An instant stub in place of Ollama. The gateway's requests go through a quorum lane on RabbitMQ 4.0 and a worker."
)
_ABOUT = (
    f"{_QUEUE} LiteLLM's proxy (1.106.12, one process, like the gateway) sends requests to the stub directly, without"
    " a queue."
)


@dataclass
class Fronts:
    """Who is asked, by port."""

    gateway: GatewayProcess
    litellm: Running
    litellm_port: int
    stub_port: int
    worker: Running

    @property
    def running(self) -> Running:
        """The gateway as a process."""
        return Running(self.worker.target, self.gateway.process.pid)


@contextlib.contextmanager
def _gateway(fleet: Fleet, name: str, own: int = 0, **settings: Any) -> Iterator[GatewayProcess]:
    """A gateway that has heard of its fleet.

    :param own: nodes with lanes of their own that it has to hear of.
    """
    gateway = GatewayProcess(fleet.scratch / name, fleet.broker(), **settings)
    try:
        gateway.wait_ready()
        until = time.monotonic() + _START
        while own and not any(len(one["own"]) >= own for one in gateway.status()["lanes"]):
            if time.monotonic() > until:
                raise RuntimeError(f"the gateway has not heard of {own} nodes with lanes of their own")
            time.sleep(0.1)
        yield gateway
    finally:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its log, as tests want it
            gateway.close()


@contextlib.contextmanager
def _litellm(fleet: Fleet, stub: str) -> Iterator[tuple[Running, int]]:
    """LiteLLM's proxy in front of the stub."""
    made = subprocess.run(
        [str(HERE.parent / "tools" / "venv.sh"), str(HERE / "requirements-litellm.txt")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = services.free_port()
    config = fleet.scratch / f"litellm-{port}.yml"
    parameters = {"model": f"openai/{MODEL}", "api_base": f"{stub}/v1", "api_key": "none"}
    config.write_text(yaml.safe_dump({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}))
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # nobody is asked for a key here, nor there
        "NO_PROXY": "*",
    }
    command = [
        str(Path(made.stdout.strip()) / "bin" / "litellm"),
        *("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
        *("--telemetry", "False"),
    ]
    log = fleet.scratch / f"litellm-{port}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            until = time.monotonic() + _START
            while not _is_up(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"LiteLLM's proxy did not come up:\n{log.read_text()[-3000:]}")
                time.sleep(0.2)
            yield Running(None, process.pid), port  # type: ignore[arg-type]
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def _fronts(fleet: Fleet, slots: int, workers: int = 1) -> Iterator[Fronts]:
    with contextlib.ExitStack() as stack:
        stub = stack.enter_context(fleet.stub([MODEL]))
        lanes = [{"type": "chat", "model": MODEL}]
        several = [
            stack.enter_context(
                fleet.ours(stub, lanes, concurrency=slots, node=f"node-{one}", registry={"heartbeat_interval": 1})
            )
            for one in range(workers)
        ]
        gateway = stack.enter_context(_gateway(fleet, f"gateway-{workers}-{slots}"))
        until = time.monotonic() + _START
        while sum(len(one["nodes"]) for one in gateway.status()["lanes"]) < workers and time.monotonic() < until:
            time.sleep(0.1)
        litellm, port = stack.enter_context(_litellm(fleet, stub))
        yield Fronts(gateway, litellm, port, int(stub.rpartition(":")[2]), several[0])


def single(fleet: Fleet) -> Finding:
    """One request at a time: what the gateway adds to the round trip of fleet_request over the same lane."""
    question = Question("chat", MODEL, {"messages": MESSAGES}, seconds=60)
    queue = lane("chat", MODEL).queue
    with contextlib.ExitStack() as stack:
        fronts = stack.enter_context(_fronts(fleet, 1))
        loop = stack.enter_context(contextlib.closing(asyncio.new_event_loop()))
        crowd = stack.enter_context(fleet.crowd())
        settings = BrokerSettings.from_url(fleet.broker().amqp_url)

        def http(name: str, port: int) -> Contestant:
            client = HttpClient(port, COMPLETIONS)
            stack.callback(lambda: loop.run_until_complete(client.close()))
            return Contestant(name, lambda: Sample(loop.run_until_complete(client.ask(CHAT)).seconds))

        def by_queue() -> Sample:
            # The module's own code, on the connection that it has; its start as a module is no part of that.
            start = time.perf_counter()
            requester.ask(question, dialect_named("typed"), exchange=EXCHANGE, routing_key=queue, seconds=60)
            return Sample(time.perf_counter() - start)

        def by_crowd() -> Sample:
            _seconds, (answer,) = crowd.run(
                fronts.worker.target, lambda number, _answered: None if number else Ask({"messages": MESSAGES})
            )
            return Sample(answer.seconds)

        requester = Requester(stack.enter_context(BrokerConnection(settings)))
        ours = http(_OURS, fronts.gateway.port)
        asked = Contestant("fleet_request's round trip", by_queue)
        bare = Contestant("a requester on pika's asynchronous adapter", by_crowd)
        litellm = http(_LITELLM, fronts.litellm_port)
        direct = http(_DIRECT, fronts.stub_port)
        contestants = [ours, asked, bare, litellm, direct]
        for contestant in contestants:
            for _warm in range(_WARM_UP):
                contestant.run()
        used = fronts.running.cpu(), fronts.litellm.cpu()
        take_turns(contestants, fleet.given.requests, quiet=True)
        spent = fronts.running.cpu() - used[0], fronts.litellm.cpu() - used[1]
        for contestant, seconds in ((ours, spent[0]), (litellm, spent[1])):
            for sample in contestant.samples:
                sample.cpu = seconds / fleet.given.requests
    added = ours.median() - asked.median()
    beside = ours.median() - bare.median()
    return Finding(
        "gateway-single",
        "The gateway, one request at a time",
        f"{_ABOUT} Processor time is that of the gateway or of the proxy for one request.",
        contestants,
        [Goal(f"adds at most {1000 * _ADDED:g} ms to {asked.name}", f"{1000 * added:+.2f} ms", added <= _ADDED)],
        [
            f"The gateway adds {1000 * beside:.2f} ms to {bare.name}.",
            (
                f"LiteLLM's proxy adds {1000 * (litellm.median() - direct.median()):.2f} ms to {direct.name}; Olla,"
                " which was not measured, adds 0.30 ms according to its authors. Neither has a queue."
            ),
        ],
    )


def inflight(fleet: Fleet) -> Finding:
    """32 requests in flight, 16 slots."""
    number, flight = fleet.given.burst, 32
    with _fronts(fleet, 16) as fronts:

        def asked(name: str, port: int, running: Optional[Callable[[], Running]] = None) -> Contestant:
            def run() -> Sample:
                used = running().cpu() if running else 0.0
                start = time.perf_counter()
                replies = asyncio.run(burst(port, COMPLETIONS, CHAT, number, flight))
                seconds = time.perf_counter() - start
                assert len(replies) == number
                return Sample(seconds, running().cpu() - used if running else 0.0)

            return Contestant(name, run)

        contestants = [
            asked(_OURS, fronts.gateway.port, lambda: fronts.running),
            asked(_LITELLM, fronts.litellm_port, lambda: fronts.litellm),
            asked(_DIRECT, fronts.stub_port),
        ]
        for contestant in contestants:
            contestant.run()
        take_turns(contestants, fleet.given.rounds)
    ours, litellm, _direct = contestants
    found = litellm.median() / ours.median()
    return Finding(
        "gateway-inflight",
        f"The gateway, {flight} requests in flight, 16 slots",
        f"{_ABOUT} Bursts of {number} requests; each answer triggers the next request.",
        contestants,
        [
            Goal(
                f"at least {_OVER_LITELLM:g}x the requests a second of {_LITELLM}",
                f"{found:.2f}x",
                found >= _OVER_LITELLM,
            )
        ],
        [f"{contestant.name}: {number / contestant.median():.0f} requests a second" for contestant in contestants],
    )


def streams(fleet: Fleet) -> Finding:
    """300 streams at a time, each of 20 pieces, one every quarter of a second."""
    pieces, pause = 20, 0.25
    body = {**CHAT, "stream": True, "pieces": pieces, "pause": pause}
    facts: dict[str, str] = {}
    with _fronts(fleet, 150, workers=2) as fronts:

        def asked(name: str, port: int, running: Optional[Running] = None) -> Contestant:
            def run() -> Sample:
                used = running.cpu() if running else 0.0
                start = time.perf_counter()
                replies = asyncio.run(together(port, COMPLETIONS, [body] * _STREAMS))
                seconds = time.perf_counter() - start
                late = statistics.median(reply.first for reply in replies)
                whole = sum(_is_whole(reply, pieces) for reply in replies)
                facts[name] = (
                    f"{name}: {whole} of {_STREAMS} streams whole, the first piece after {late:.2f} s (median)"
                )
                return Sample(seconds, running.cpu() - used if running else 0.0, {"whole": whole})

            return Contestant(name, run)

        contestants = [
            asked(_OURS, fronts.gateway.port, fronts.running),
            asked(_LITELLM, fronts.litellm_port, fronts.litellm),
            asked(_DIRECT, fronts.stub_port),
        ]
        take_turns(contestants, min(3, fleet.given.rounds))
        size = fronts.running.memory()
    whole = int(min(sample.facts["whole"] for sample in contestants[0].samples))
    return Finding(
        "gateway-streams",
        f"The gateway, {_STREAMS} open streams",
        f"Each stream has {pieces} pieces, one every {pause:g} s, so that all take {pieces * pause:g} s at least. Two"
        " workers of 150 slots.",
        contestants,
        [Goal(f"{_STREAMS} streams at a time, all whole", f"{whole}", whole == _STREAMS)],
        [*facts.values(), f"The gateway had {size / 1e6:.0f} MB after that."],
    )


def memory(fleet: Fleet) -> Finding:
    """Resident memory idle, and over 20,000 requests with 32 in flight."""
    seen: list[int] = []
    with contextlib.ExitStack() as stack:
        stub = stack.enter_context(fleet.stub([MODEL]))
        lanes = [{"type": "chat", "model": MODEL}]
        worker = stack.enter_context(fleet.ours(stub, lanes, concurrency=16, registry={"heartbeat_interval": 1}))
        gateway = stack.enter_context(_gateway(fleet, "gateway-memory"))
        running = Running(worker.target, gateway.process.pid)
        time.sleep(5)
        idle = running.memory()
        used = running.cpu()
        start = time.perf_counter()
        for _part in range(10):
            asyncio.run(burst(gateway.port, COMPLETIONS, CHAT, _REQUESTS // 10, 32))
            seen.append(running.memory())
        seconds = time.perf_counter() - start
        contestant = Contestant(_OURS, lambda: Sample(seconds), samples=[Sample(seconds, running.cpu() - used)])
    growth = seen[-1] / seen[1] - 1
    return Finding(
        "gateway-memory",
        f"The gateway's memory over {_REQUESTS:,} requests",
        f"{_QUEUE} 32 requests in flight.",
        [contestant],
        [
            Goal(f"idle: at most {_IDLE_MEMORY / 1e6:.0f} MB", f"{idle / 1e6:.0f} MB", idle <= _IDLE_MEMORY),
            Goal(
                f"grows by less than {_GROWTH:.0%} from {_REQUESTS // 5:,} to {_REQUESTS:,} requests",
                f"{growth:+.1%}",
                growth < _GROWTH,
            ),
        ],
        ["Resident after each tenth: " + ", ".join(f"{size / 1e6:.1f}" for size in seen) + " MB."],
    )


#: Turns of a conversation, tokens of an answer, conversations at a time, and slots of a node.
_TURNS, _ANSWER, _AT_A_TIME, _SLOTS = 10, 160, 2, 2


def conversations(fleet: Fleet) -> Finding:
    """Ten-turn chats over two nodes with real Ollama: time to the first token of the turns after the first."""
    numbers = itertools.count()
    settings = {"OLLAMA_NUM_PARALLEL": str(_SLOTS), "OLLAMA_CONTEXT_LENGTH": "8192"}
    lanes = [{"type": "chat", "model": CHAT_MODEL}]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(services.ollama_server(services.model_store(), settings)) for _node in range(2)]
        others: dict[str, Any] = {"concurrency": _SLOTS, "own_lanes": True, "registry": {"heartbeat_interval": 1}}
        for number, server in enumerate(servers):
            stack.enter_context(fleet.ours(server.url, lanes, node=f"node-{number}", **others))
        staying = stack.enter_context(_gateway(fleet, "gateway-stay", own=2))
        plain = stack.enter_context(_gateway(fleet, "gateway-plain", own=2, conversations={"stay": False}))
        tokens: list[int] = []

        def asked(name: str, gateway: GatewayProcess) -> Contestant:
            def run() -> Sample:
                chats = [_opening(next(numbers)) for _chat in range(_AT_A_TIME)]
                start = time.perf_counter()
                firsts, sizes = zip(*asyncio.run(_talk(gateway.port, chats)))
                tokens.extend(sizes)
                facts = {"first": statistics.median(itertools.chain(*firsts)), "all": list(itertools.chain(*firsts))}
                return Sample(time.perf_counter() - start, 0.0, facts)

            return Contestant(name, run)

        kept = asked("conversations stay on their node", staying)
        loose = asked("plain lanes", plain)
        for server in servers:
            with direct(server.url) as client:
                client.chat(model=CHAT_MODEL, messages=MESSAGES)
        take_turns([kept, loose], fleet.given.rounds)
        places = _turns(staying)
    firsts = {
        one.name: list(itertools.chain(*(sample.facts["all"] for sample in one.samples))) for one in (kept, loose)
    }
    median = {name: statistics.median(all_of) for name, all_of in firsts.items()}
    mean = {name: statistics.mean(all_of) for name, all_of in firsts.items()}
    found = median[loose.name] / median[kept.name]
    share = places.get("home", 0) / max(1, sum(places.values()))
    return Finding(
        "gateway-conversations",
        f"Conversations of {_TURNS} turns over two nodes with real Ollama",
        f"{CHAT_MODEL} on this machine's processors, two Ollamas with {_SLOTS} slots each, {_AT_A_TIME} conversations"
        f" at a time; a text at the beginning, short questions, answers of {_ANSWER} tokens, {max(tokens):,} tokens in"
        " the end. The times are those of whole conversations.",
        [kept, loose],
        [
            Goal(
                f"time to the first token of turns after the first: at most 1/{_OVER_PLAIN:g} of that of plain lanes",
                f"1/{found:.2f}",
                found >= _OVER_PLAIN,
            ),
            Goal(f"at least {_AT_HOME:.0%} of the turns on their node", f"{share:.1%}", share >= _AT_HOME),
        ],
        [
            f"Time to the first token of turns after the first, {name}: median {median[name]:.3f} s,"
            f" mean {mean[name]:.3f} s ({len(firsts[name])} turns)."
            for name in firsts
        ],
    )


def _opening(number: int) -> list[dict[str, str]]:
    """Return the first message of a conversation, some hundred tokens that no other one has."""
    words = ("harbour", "ledger", "copper", "orchard", "signal", "winter", "bridge", "lantern", "quarry", "sparrow")
    text = " ".join(f"{words[(number * 7 + place * place) % 10]} {number * 31 + place}" for place in range(150))
    return [{"role": "user", "content": f"Chapter {number}. {text}. Tell a long story about that."}]


async def _talk(port: int, chats: Sequence[list[dict[str, str]]]) -> list[tuple[list[float], int]]:
    return await asyncio.gather(*(_converse(port, chat) for chat in chats))


async def _converse(port: int, messages: list[dict[str, str]]) -> tuple[list[float], int]:
    """Lead a conversation; return the times to the first token of the turns after the first, and its tokens."""
    client = HttpClient(port, "/api/chat")
    firsts: list[float] = []
    size = 0
    for turn in range(_TURNS):
        if turn:
            messages.append({"role": "user", "content": f"Go on with part {turn} of it, and tell their end."})
        options = {"num_predict": _ANSWER, "temperature": 0, "seed": turn}
        reply = await client.ask({"model": CHAT_MODEL, "messages": messages, "options": options})
        lines = [json.loads(line) for line in reply.body.splitlines()]
        messages.append({"role": "assistant", "content": "".join(line["message"]["content"] for line in lines)})
        size = lines[-1]["prompt_eval_count"] + lines[-1]["eval_count"]
        if turn:
            firsts.append(reply.first)
    await client.close()
    return firsts, size


def _turns(gateway: GatewayProcess) -> dict[str, int]:
    text = gateway.ask("/metrics").body.decode()
    found = re.findall(r'^fleet_gateway_turns_total\{place="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {place: int(number) for place, number in found}


def _is_whole(reply: Reply, pieces: int) -> bool:
    return reply.body.count(b'"content"') >= pieces and reply.body.rstrip().endswith(b"data: [DONE]")


#: In the order in which they run; ``gateway`` is all of them.
CASES: dict[str, Callable[[Fleet], Finding]] = {
    "gateway-single": single,
    "gateway-inflight": inflight,
    "gateway-streams": streams,
    "gateway-memory": memory,
    "gateway-conversations": conversations,
}
