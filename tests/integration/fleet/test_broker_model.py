# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of RabbitMQ that the simulation runs on does what RabbitMQ does: same scripts, same observations."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from broker_scripts import DLX, TICK, ModelPlayer, Player, RandomScript, Script, Seen, play_to_model
from depth import rounds
from fleet_worker._fleet.broker import BrokerSettings, parameters
from fleet_worker.amqp.connection import Connection
from fleet_worker.runtime.event_loop import EventLoop
from quorum_queue import Series

pytestmark = pytest.mark.every_version

#: Seconds for the broker to do what is expected, and then to do something that is not.
PATIENCE = 10.0
QUIET = 0.02


class RealPlayer:
    """A player of scripts on a real broker."""

    def __init__(self, broker: Any) -> None:
        self._settings = BrokerSettings.from_url(broker.amqp_url)
        self._loop = EventLoop()
        self.player = Player(self._connect, self._settle, self._pass_time, f"model.{uuid.uuid4().hex[:6]}.")

    def close(self) -> None:
        self._loop.close()

    def _pass_time(self, seconds: float) -> None:
        self._turn_until(lambda: False, seconds)

    def _connect(self, opened: Callable[[Any], None]) -> None:
        Connection(
            parameters(self._settings, self._settings.addresses[0]),
            self._loop,
            on_open_callback=opened,
            on_open_error_callback=lambda _connection, error: pytest.fail(str(error)),
            on_close_callback=lambda _connection, _error: None,
        )

    def _settle(self, done: Callable[[], bool]) -> None:
        self._turn_until(done, PATIENCE)
        self._turn_until(lambda: False, QUIET)

    def _turn_until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self._loop.call_later(min(0.01, seconds), lambda: None)  # wakes the loop
            self._loop.turn()


@pytest.fixture(autouse=True, scope="module")
def impatient(broker: Any) -> Iterator[None]:
    """Make queues report more often than every five seconds."""
    broker.ctl("eval", f"application:set_env(rabbit, quorum_tick_interval, {int(TICK * 1000)}).")
    yield
    broker.ctl("eval", "application:set_env(rabbit, quorum_tick_interval, 5000).")


@pytest.fixture
def real(broker: Any) -> Iterator[RealPlayer]:
    player = RealPlayer(broker)
    yield player
    player.close()


@pytest.fixture
def series(broker: Any) -> Series:
    return Series.V3_10 if "3.10" in broker.ctl("version") else Series.V4_0


def _compare(real: RealPlayer, script: Script, expected: list[Seen]) -> None:
    real.player.prepare(script)
    try:
        for number, (step, wanted) in enumerate(zip(script.steps, expected)):
            seen = real.player.play(step, wanted)
            story = "\n".join(f"  {done} -> {saw}" for done, saw in zip(script.steps[:number], expected))
            said = f"RabbitMQ: {seen}\nthe model: {wanted}"
            assert seen == wanted, f"{script.name}, after\n{story}\nstep {number}: {step}\n{said}"
    finally:
        real.player.clean(script)


def test_model_agrees_with_rabbitmq_about_random_scripts(real: RealPlayer, series: Series) -> None:
    for seed in range(rounds(5, 100)):
        made = RandomScript(seed, series)
        _compare(real, made.script, made.expected)


LIMITS = {"x-queue-type": "quorum", "x-dead-letter-exchange": DLX}

#: Tries of a script whose outcome depends on what reaches RabbitMQ's channel first.
RACES = 10

#: The first message of a channel takes longer, since the queue gets to know the channel.
WARM_UP = [("publish", "q", "first"), ("get", "b", "q"), ("ack", "b", 1)]

SCRIPTS = [
    Script(
        "the fourth return of a lane of three ends in the dead letters, whoever returns",
        {"q": {**LIMITS, "x-delivery-limit": 3}},
        [
            ("publish", "q", "m"),
            ("get", "a", "q"),
            ("nack", "a", 1),
            ("consume", "b", "q", "t", 1),
            ("reject", "b", 1, True),
            ("close_channel", "b"),
            ("look", "q"),
            ("get", "a", "q"),
            ("close_connection", "a"),
            ("look", "q"),
            ("get", "d", "dead.letters"),
        ],
    ),
    Script(
        "a consumer that is cancelled keeps what it has, and it does not count",
        {"q": {**LIMITS, "x-delivery-limit": 1}},
        [
            ("publish", "q", "m"),
            ("consume", "a", "q", "t", 1),
            ("cancel", "a", "t"),
            ("look", "q"),
            ("consume", "b", "q", "u", 1),
            ("nack", "a", 1),
            ("ack", "b", 1),
            ("look", "q"),
        ],
    ),
    Script(
        "what is on its way to a consumer that is cancelled is returned, and counts, though no client ever sees it",
        {"q": {**LIMITS, "x-delivery-limit": 3}},
        [
            *WARM_UP,
            ("consume", "a", "q", "t1", 1),
            ("cancel_late", "a", "t1", "q", "m"),
            ("look", "q"),
            ("get", "b", "q"),
            ("nack", "b", 2),
            ("look", "q"),
            ("get", "b", "q"),
            ("ack", "b", 3),
        ],
    ),
    Script(
        "four consumers that are cancelled in turn lose a message that no client ever saw",
        {"q": {**LIMITS, "x-delivery-limit": 3}},
        [
            *WARM_UP,
            *(("consume", name, "q", f"t{name}", 1, priority) for name, priority in zip("abce", (4, 3, 2, 1))),
            ("cancel_all_late", "abce", "q", "m"),
            ("look", "q"),
            ("get", "d", "dead.letters"),
        ],
    ),
    Script(
        "what was returned goes out before what was never out",
        {"q": LIMITS},
        [
            *(("publish", "q", f"m{number}") for number in range(4)),
            ("get", "a", "q"),
            ("get", "a", "q"),
            ("nack", "a", 2),
            ("nack", "a", 1),
            ("consume", "b", "q", "t", 4),
        ],
    ),
    Script(
        "what comes to its limit makes room for one more, or for two",
        {"q": {**LIMITS, "x-delivery-limit": 0}},
        [
            *(("publish", "q", f"m{number}") for number in range(5)),
            ("consume", "a", "q", "t", 1),
            ("nack", "a", 1),
            ("nack", "a", 2),
        ],
    ),
    Script(
        "messages expire at the head of a queue, also when they were out",
        {"q": {**LIMITS, "x-message-ttl": 1500}},
        [
            ("publish", "q", "m1", {"expiration": "300"}),
            ("publish", "q", "m2"),
            ("publish", "q", "m3", {"expiration": "300"}),
            ("publish", "q", "m4"),
            ("wait", 0.7),
            ("look", "q"),
            ("get", "a", "q"),
            ("get", "a", "q"),
            ("wait", 1.3),
            ("look", "q"),
            ("nack", "a", 1),
            ("look", "q"),
            *[("get", "d", "dead.letters")] * 4,
        ],
    ),
    Script(
        "a queue expires that nobody consumes or asks, and not while a delivery of it is open",
        {name: {**LIMITS, "x-expires": 2000} for name in ("alone", "consumed", "cancelled", "asked", "waiting")},
        [
            *(("publish", name, "m") for name in ("cancelled", "asked", "waiting")),
            ("consume", "a", "consumed", "t", 1),
            ("consume", "b", "cancelled", "u", 1),
            ("cancel", "b", "u"),
            ("get", "c", "asked"),
            ("wait", 3.0),
            *(("look", name) for name in ("alone", "consumed", "cancelled", "asked", "waiting")),
            ("ack", "b", 1),
            ("ack", "c", 1),
            ("wait", 3.0),
            *(("look", name) for name in ("consumed", "cancelled", "asked")),
        ],
    ),
    Script(
        "a deleted queue ends its consumers, and an unknown tag the channel",
        {"q": LIMITS, "r": LIMITS},
        [
            ("consume", "a", "q", "t", 1),
            ("publish", "q", "m"),
            ("delete", "q"),
            ("publish", "q", "n"),
            ("publish", "r", "m"),
            ("get", "b", "r"),
            ("ack", "b", 2),
            ("look", "r"),
        ],
    ),
]


TIMED_OUT = Script(
    "a delivery that is not acknowledged in time costs its channel, and counts",
    {"q": LIMITS},
    [
        ("publish", "q", "m"),
        ("consume", "a", "q", "t", 1),
        ("wait", 4.0),
        ("look", "q"),
        ("get", "b", "q"),
    ],
)


def test_consumer_beyond_its_timeout_loses_its_channel(real: RealPlayer, series: Series, broker: Any) -> None:
    model = ModelPlayer(series)
    model.broker.consumer_timeout = model.broker.channel_tick = 1.0
    expected = play_to_model(TIMED_OUT, series, model)
    assert expected[2] == {"a": ["closed 406"]}
    broker.ctl("eval", "[application:set_env(rabbit, Key, 1000) || Key <- [consumer_timeout, channel_tick_interval]].")
    try:
        _compare(real, TIMED_OUT, expected)
    finally:
        broker.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        broker.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.replace(" ", "_"))
def test_model_agrees_with_rabbitmq_about_a_script(script: Script, broker: Any, series: Series) -> None:
    expected = play_to_model(script, series)
    # RabbitMQ must take a late cancel before the message reaches the consumer. On a busy machine the message may win.
    tries = RACES if any("late" in step[0] for step in script.steps) else 1
    for left in reversed(range(tries)):
        real = RealPlayer(broker)
        try:
            _compare(real, script, expected)
            return
        except AssertionError:
            if not left:
                raise
        finally:
            real.close()
