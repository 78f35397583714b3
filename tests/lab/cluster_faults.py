# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of the drills of a cluster: of the node that leads half of the lanes, of all nodes in turn, of workers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster import HostedNode, Node
from cluster_drill import Fault, Scene
from wire import Stage, Wire

#: Seconds that a node or a worker is away where no heartbeat decides it.
AWAY = 3.0

#: Seconds that a node is cut off from the others: longer than RabbitMQ's failure detector takes, shorter than Erlang's.
CUT = 20.0


def _nothing(_scene: Scene) -> None:
    pass


def _is_silent(scene: Scene) -> bool:
    return not scene.victim.greets()


def stop_leader() -> Fault:
    return Fault(
        "leader stopped",
        lambda scene: scene.victim.stop(),
        _is_silent,
        lambda scene: scene.victim.start(),
        AWAY,
        gone=True,
    )


def kill_leader() -> Fault:
    return Fault(
        "leader killed",
        lambda scene: scene.victim.kill(),
        _is_silent,
        lambda scene: scene.victim.start(),
        AWAY,
        gone=True,
    )


def pause_leader(heartbeat: int, heartbeats: float) -> Fault:
    return Fault(
        f"leader paused for {heartbeats:g} heartbeats",
        lambda scene: scene.victim.pause(),
        _is_silent,
        lambda scene: scene.victim.go_on(),
        heartbeat * heartbeats,
        gone=True,
    )


def cut_leader_off(seconds: float = CUT) -> Fault:
    """Workers and requesters are on both sides: with the leaders of half of the lanes, and with the other two nodes."""
    return Fault(
        "leader cut off",
        lambda scene: scene.victim.cut_off(scene.cluster.others(scene.victim)),
        lambda scene: not any(scene.victim.reaches(other) for other in scene.cluster.others(scene.victim)),
        lambda scene: scene.victim.heal(scene.cluster.others(scene.victim)),
        seconds,
    )


def restart_all() -> Fault:
    """Each node is stopped and started, one after the other."""
    stopped: list[Node] = []

    def restart(scene: Scene) -> None:
        stopped.clear()
        for node in scene.cluster.nodes:
            node.stop()
            if not node.greets():
                stopped.append(node)
            node.start()
            scene.cluster.wait_whole()

    return Fault("rolling restart", restart, lambda scene: len(stopped) == len(scene.cluster.nodes), _nothing, 0.0)


def kill_worker() -> Fault:
    return Fault(
        "worker killed",
        lambda scene: scene.workers[0].kill(),
        lambda scene: scene.workers[0].is_stopped(),
        lambda scene: scene.workers[0].start(),
        AWAY,
        of_leader=False,
    )


def pause_worker(heartbeat: int, heartbeats: float) -> Fault:
    def is_stopped(scene: Scene) -> bool:
        time.sleep(0.2)
        return scene.workers[0].is_stopped()

    return Fault(
        f"worker paused for {heartbeats:g} heartbeats",
        lambda scene: scene.workers[0].pause(),
        is_stopped,
        lambda scene: scene.workers[0].go_on(),
        heartbeat * heartbeats,
        of_leader=False,
    )


def pull_cable(wires: Sequence[Wire], stage: Stage, seconds: float) -> Fault:
    """The cable of a worker is pulled when one of its requests comes to a stage, and put back later.

    :param wires: of the worker to each node.
    """

    def pull(_scene: Scene) -> None:
        for wire in wires:
            wire.pull_at(stage)
        deadline = time.monotonic() + 20
        while not any(wire.pulled.is_set() for wire in wires) and time.monotonic() < deadline:
            time.sleep(0.01)
        for wire in wires:
            wire.pull()

    def plug(_scene: Scene) -> None:
        for wire in wires:
            wire.plug()

    return Fault(
        f"cable pulled, {stage.value}",
        pull,
        lambda _scene: any(wire.pulled.is_set() for wire in wires),
        plug,
        seconds,
        of_leader=False,
    )


def all_leader_faults(heartbeat: int) -> list[Fault]:
    """Every fault of a node that leads lanes."""
    return [
        kill_leader(),
        pause_leader(heartbeat, 0.5),
        stop_leader(),
        pause_leader(heartbeat, 1),
        cut_leader_off(),
        pause_leader(heartbeat, 3),
        # So long that every worker must have noticed it, and have another connection.
        pause_leader(heartbeat, 6),
    ]


def all_other_faults(heartbeat: int) -> list[Fault]:
    """Every other fault, but those of cables."""
    return [restart_all(), kill_worker(), *(pause_worker(heartbeat, number) for number in (0.5, 1, 3))]


def unplug_leader(seconds: float = CUT) -> Fault:
    """The host with the leaders of half of the lanes, and with a worker, has no network: nobody reaches it."""

    def host(scene: Scene) -> HostedNode:
        if not isinstance(scene.victim, HostedNode):
            raise TypeError(f"{scene.victim.name} is on no host of its own")
        return scene.victim

    return Fault(
        "leader's host without network",
        lambda scene: host(scene).unplug(),
        _is_silent,
        lambda scene: host(scene).plug(),
        seconds,
        gone=True,
    )


def hosted_faults(heartbeat: int) -> list[Fault]:
    """The faults that are made to hosts with systemd: a frozen host freezes its worker, too."""
    return [
        *all_leader_faults(heartbeat),
        unplug_leader(),
        restart_all(),
        kill_worker(),
        pause_worker(heartbeat, 3),
    ]
