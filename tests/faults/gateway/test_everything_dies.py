# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker, gateway, broker and Ollama are killed in turn under load: nobody is left without an answer or an error."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any, Callable

from campaign_of_clients import DEADLINE, Campaign, Front, echo
from depth import DEEP
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess
from gateway_parts import GatewayProcess

#: Requests of the whole campaign, rounds in which everything is killed once, and seconds between two kills.
REQUESTS = 20_000 if DEEP else 100_000
ROUNDS = 1_000_000 if DEEP else 1
BETWEEN = 3.0 if DEEP else 1.0
CLIENTS = 32

Start = Callable[..., Any]


def test_requests_under_load_get_an_answer_or_an_error_after_any_kill(
    own_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.behave = echo
    with ScriptedOllama(echo) as second:
        nodes = {"gpu-01": scripted, "gpu-02": second}
        workers = {
            node: start(WorkerProcess, own_broker, ollama.url, node=node, concurrency=8, own_lanes=True)
            for node, ollama in nodes.items()
        }
        fronts = [
            Front(start(GatewayProcess, own_broker, deadline=DEADLINE, node_timeout=6, limits={"waiting": 100}))
            for _front in range(2)
        ]
        campaign = Campaign(fronts, CLIENTS)

        def kill_worker() -> None:
            workers["gpu-01"].kill()
            time.sleep(BETWEEN)
            workers["gpu-01"] = start(
                WorkerProcess, own_broker, scripted.url, node="gpu-01", concurrency=8, own_lanes=True
            )

        def kill_gateway() -> None:
            killed = fronts[0]
            killed.kills, killed.is_down = killed.kills + 1, True
            killed.gateway.kill()
            time.sleep(BETWEEN)
            killed.gateway.start()
            killed.gateway.wait_ready()
            killed.is_down = False

        def kill_ollama() -> None:
            scripted.stop()
            time.sleep(BETWEEN)
            scripted.start()

        def kill_broker() -> None:
            own_broker.kill()
            own_broker.start()

        begun = time.monotonic()
        kills = 0
        with campaign.run(REQUESTS):
            for _round in range(ROUNDS):
                for kill in (kill_worker, kill_gateway, kill_ollama, kill_broker):
                    if campaign.made >= REQUESTS:
                        break
                    time.sleep(BETWEEN)
                    since = time.monotonic()
                    kill()
                    campaign.broken(kill.__name__, since)
                    kills += 1
                if campaign.made >= REQUESTS:
                    break
            time.sleep(BETWEEN)
            if not DEEP:
                campaign.stop()
        seconds = time.monotonic() - begun
        seen = campaign.seen
        counted = [_counted(front.gateway) for front in fronts]
        print(f"{campaign.made} requests in {seconds:.0f} s, {kills} kills, slowest {seen.slowest:.1f} s")
        print(dict(sorted(seen.outcomes.items())), f"answered {dict(seen.answered)}, counted {counted}")
        assert seen.wrong == []
        verdict = campaign.verdict()
        print(verdict)
        assert verdict.findings == []
        assert verdict.sent == campaign.made
        # The model is served all the time, as far as anybody can say.
        assert seen.outcomes["status 404"] == 0
        assert sum(seen.outcomes.values()) == campaign.made
        assert kills >= 4
        # Most are answered, and those of the gateway that lives longest after every kind of death.
        assert seen.outcomes["answered"] > campaign.made / 4
        for which in range(2):
            # An answer is counted before its client has all of it, and none is counted twice.
            assert seen.answered[which] <= counted[which] <= seen.asked[which]
        _all_is_well(fronts, nodes)


def _counted(gateway: Any) -> int:
    printed = subprocess.run(
        gateway.command("usage", "--json"), env=gateway.environment, check=True, stdout=subprocess.PIPE
    ).stdout
    return sum(row["requests"] for row in json.loads(printed) if row["model"] == CHAT_MODEL)


def _all_is_well(fronts: list[Front], nodes: dict[str, ScriptedOllama]) -> None:
    """In the end nothing is left over, and everybody is served."""
    for front in fronts:
        front.gateway.wait_ready()
        until = time.monotonic() + DEADLINE
        while any(lane["running"] or lane["waiting"] for lane in front.gateway.status()["lanes"]):
            assert time.monotonic() < until, front.gateway.status()
            time.sleep(0.1)
        for number in range(4):
            messages = [{"role": "user", "content": f"afterwards {number}"}]
            asked = {"model": CHAT_MODEL, "messages": messages, "stream": False}
            assert front.gateway.ask("/api/chat", asked).status == 200
    assert nodes
