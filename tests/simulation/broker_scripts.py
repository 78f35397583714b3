# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts of what clients do to a broker, and a player that writes down what they see.

One player plays a script to the model and to a real RabbitMQ, over the same client: the daemon's connection. After each
step the player waits until nothing more comes. The events that each channel has seen in a step, in their order, are the
observation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from fleet_worker._fleet.lanes import lane
from model_broker import ModelBroker
from model_connection import ModelConnection, Network
from pika import BasicProperties, ConnectionParameters, spec
from quorum_queue import Series
from virtual_clock import Clock, Process, VirtualLoop

#: One step: its name, and what it takes.
Step = tuple[Any, ...]
#: What was seen in one step, by channel.
Seen = dict[str, list[str]]

#: How often a player looks for what it expects: what has no event takes a while, such as the end of a channel.
LOOKS = 200

#: Questions, of about a millisecond each, that a channel has to answer before it comes to a late cancellation.
BUSY = 300

#: Seconds between two looks of a queue at itself, in the model and in the broker that it is held against.
TICK = 0.2

DEAD = "dead.letters"
DLX = "dead.exchange"


@dataclass
class Script:
    """Steps, with the arguments of the queues that they use.

    :ivar queues: names and arguments; declared before the first step.
    """

    name: str
    queues: Mapping[str, Mapping[str, Any]]
    steps: list[Step] = field(default_factory=list)


class Player:
    """Plays steps over one connection for each channel name, so that each can end by itself.

    :param connect: opens a connection, and calls back with it.
    :param settle: lets time pass until nothing more comes, or until what it is given says that everything has.
    :param pass_time: lets so many seconds pass.
    :param prefix: put before each queue's name, so that scripts can share a broker.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[Any], None]], None],
        settle: Callable[[Callable[[], bool]], None],
        pass_time: Callable[[float], None],
        prefix: str = "",
    ) -> None:
        self._connect = connect
        self._settle = settle
        self._pass_time = pass_time
        self._prefix = prefix
        self._channels: dict[str, Any] = {}
        self._connections: dict[str, Any] = {}
        self._seen: Seen = {}
        self._ready = 0
        #: How many messages the broker has confirmed in the steps before; there is one channel that publishes.
        self._confirmed_to = 0

    def prepare(self, script: Script) -> None:
        """Declare the queues, with dead letters going to one of their own."""
        self._confirmed_to = 0
        channel = self.channel("control")
        channel.exchange_declare(DLX, "fanout", durable=True, callback=self._one_more)
        self._until(1)
        for name, arguments in {DEAD: {"x-queue-type": "quorum"}, **script.queues}.items():
            channel.queue_declare(self._prefix + name, durable=True, arguments=dict(arguments), callback=self._one_more)
            self._until(1)
        channel.queue_bind(self._prefix + DEAD, DLX, "#", callback=self._one_more)
        self._until(1)

    def clean(self, script: Script) -> None:
        """Delete the queues, and close the connections."""
        channel = self.channel("cleaner")
        for name in (DEAD, *script.queues):
            channel.queue_delete(self._prefix + name, callback=self._one_more)
            self._until(1)
        for connection in self._connections.values():
            if connection.is_open:
                connection.close()
        self._settle(lambda: all(connection.is_closed for connection in self._connections.values()))

    def play(self, step: Step, expected: Optional[Seen] = None) -> Seen:
        """Take a step; return what was seen.

        :param expected: what is waited for, if that is known.
        """
        tidy = self._play_once(step, expected)
        for _time in range(LOOKS if step[0] == "look" and expected is not None else 0):
            if tidy == expected:
                break
            tidy = self._play_once(step, expected)
        for lines in tidy.values():
            self._confirmed_to += sum(line.startswith("confirm ") for line in lines)
        return tidy

    def _play_once(self, step: Step, expected: Optional[Seen]) -> Seen:
        self._seen = {}
        name, *arguments = step
        getattr(self, "_do_" + name)(*arguments)
        self._settle(lambda: bool(self._seen) if name == "look" else expected is not None and self._tidy() == expected)
        return self._tidy()

    # Channels

    def channel(self, name: str) -> Any:
        """Return the channel of that name; opened first if need be, over a connection of its own."""
        if name not in self._channels or not self._channels[name].is_open:
            self._connect(partial(self._connected, name))
            self._until(1)
        return self._channels[name]

    def _connected(self, name: str, connection: Any) -> None:
        self._connections[name] = connection

        def opened(channel: Any) -> None:
            self._channels[name] = channel
            channel.add_on_close_callback(lambda _channel, error: self._closed(name, error))
            channel.add_on_cancel_callback(lambda frame: self._note(name, f"cancelled {frame.method.consumer_tag}"))
            channel.add_callback(
                lambda frame: self._note(name, f"cancel-ok {frame.method.consumer_tag}"),
                [spec.Basic.CancelOk],
                one_shot=False,
            )
            channel.add_callback(lambda _frame: self._note(name, "get-empty"), [spec.Basic.GetEmpty], one_shot=False)
            channel.add_on_return_callback(
                lambda _channel, _method, _properties, body: self._note(name, f"returned {body.decode()}")
            )
            channel.confirm_delivery(partial(self._confirmed, name), callback=self._one_more)

        connection.channel(on_open_callback=opened)

    def _one_more(self, _frame: Any) -> None:
        self._ready += 1

    def _until(self, number: int) -> None:
        self._settle(lambda: self._ready >= number)
        if self._ready < number:
            raise AssertionError("the broker has not answered")
        self._ready = 0

    # Observations

    def _note(self, channel: str, text: str) -> None:
        self._seen.setdefault(channel, []).append(text)

    def _closed(self, name: str, error: Any) -> None:
        code = getattr(error, "reply_code", None)
        if code not in (0, 200, None):
            self._note(name, f"closed {code}")

    def _confirmed(self, name: str, frame: Any) -> None:
        kind = type(frame.method).__name__.lower()
        self._note(name, f"confirm {kind} {frame.method.delivery_tag} {frame.method.multiple}")

    def _message(self, name: str, what: str, method: Any, properties: Any, body: bytes) -> None:
        count = (properties.headers or {}).get("x-delivery-count")
        more = f" more={method.message_count}" if what == "get" else ""
        again = " again" if method.redelivered else ""
        reason = (properties.headers or {}).get("x-first-death-reason")
        died = f" died={reason}" if reason else ""
        counted = f" count={count}" if count is not None else ""
        self._note(name, f"{what} {body.decode()} tag={method.delivery_tag}{again}{counted}{more}{died}")

    def _tidy(self) -> Seen:
        """Return what was seen, with confirms one by one: a broker confirms several at a time as it pleases."""
        tidy: Seen = {}
        for name, lines in sorted(self._seen.items()):
            confirms = []
            done = self._confirmed_to
            for line in [line for line in lines if line.startswith("confirm ")]:
                _word, kind, tag, multiple = line.split()
                first = done + 1 if multiple == "True" else int(tag)
                confirms += [f"confirm {kind} {number}" for number in range(first, int(tag) + 1)]
                done = int(tag)
            tidy[name] = [line for line in lines if not line.startswith("confirm ")] + sorted(confirms)
        return {name: lines for name, lines in tidy.items() if lines}

    # Steps

    def _do_publish(self, queue: str, body: str, options: Optional[Mapping[str, Any]] = None) -> None:
        self.channel("publisher").basic_publish(
            "", self._prefix + queue, body.encode(), BasicProperties(delivery_mode=2, **(options or {})), mandatory=True
        )

    def _do_consume(self, name: str, queue: str, tag: str, prefetch: int, priority: int = 0) -> None:
        channel = self.channel(name)
        channel.basic_qos(prefetch_count=prefetch, callback=lambda _frame: None)
        channel.basic_consume(
            self._prefix + queue,
            lambda _channel, method, properties, body: self._message(
                name, f"deliver {method.consumer_tag}", method, properties, body
            ),
            consumer_tag=tag,
            arguments={"x-priority": priority} if priority else {},
        )

    def _do_cancel(self, name: str, tag: str) -> None:
        self.channel(name).basic_cancel(tag, callback=lambda _frame: None)

    def _do_cancel_late(self, name: str, tag: str, queue: str, body: str) -> None:
        """Cancel a consumer behind so much else that the broker still delivers a message to it meanwhile."""
        self.channel("publisher")
        channel = self.channel(name)
        channel.add_callback(lambda _frame: None, [spec.Queue.DeclareOk], one_shot=False)
        for _number in range(BUSY):
            channel._send_method(spec.Queue.Declare(queue=self._prefix + queue, passive=True))
        channel.basic_cancel(tag, callback=lambda _frame: None)
        if body:
            self._do_publish(queue, body)
            self._pass_time(1.0)

    def _do_cancel_all_late(self, names: str, queue: str, body: str) -> None:
        """The same with several channels, one consumer each, called ``t`` and the channel's name."""
        for name in names:
            self._do_cancel_late(name, f"t{name}", queue, "")
        self._do_publish(queue, body)
        self._pass_time(1.0)

    def _do_get(self, name: str, queue: str) -> None:
        channel = self.channel(name)
        channel._on_getok_callback = None  # after an empty answer pika keeps it until it is asked again
        channel.basic_get(
            self._prefix + queue,
            lambda _channel, method, properties, body: self._message(name, "get", method, properties, body),
        )

    def _do_ack(self, name: str, tag: int, multiple: bool = False) -> None:
        self.channel(name).basic_ack(tag, multiple)

    def _do_nack(self, name: str, tag: int, requeue: bool = True, multiple: bool = False) -> None:
        self.channel(name).basic_nack(tag, multiple, requeue)

    def _do_reject(self, name: str, tag: int, requeue: bool) -> None:
        self.channel(name).basic_reject(tag, requeue)

    def _do_close_channel(self, name: str) -> None:
        self.channel(name).close()

    def _do_close_connection(self, name: str) -> None:
        self.channel(name).connection.close()

    def _do_delete(self, queue: str) -> None:
        self.channel("control").queue_delete(self._prefix + queue, callback=lambda _frame: None)

    def _do_purge(self, queue: str) -> None:
        self.channel("control").queue_purge(
            self._prefix + queue, callback=lambda frame: self._note("control", f"purged {frame.method.message_count}")
        )

    def _do_look(self, queue: str) -> None:
        """See how many messages wait, and how many consumers there are; a queue that is gone costs the channel."""
        self.channel("looker").queue_declare(
            self._prefix + queue,
            passive=True,
            callback=lambda frame: self._note(
                "looker", f"{frame.method.message_count} wait, {frame.method.consumer_count} consumers"
            ),
        )

    def _do_wait(self, seconds: float) -> None:
        self._pass_time(seconds)


#: The queues that random scripts use: as the lanes are, and some that come to their limits sooner.
QUEUES: dict[str, dict[str, Any]] = {
    "model": {**lane("chat", "m:1").arguments, "x-dead-letter-exchange": DLX},
    "shared": {**lane("chat", "m:1", style="shared").arguments, "x-max-length": 4, "x-dead-letter-exchange": DLX},
    "strict": {"x-queue-type": "quorum", "x-delivery-limit": 1, "x-dead-letter-exchange": DLX},
}
del QUEUES["shared"]["x-expires"]  # nothing but time does anything to it: `wait` has its own scripts


class RandomScript:
    """Makes up a script step by step, by what the model shows.

    :param seed: the same one makes the same script.
    """

    def __init__(self, seed: int, series: Series, length: int = 40) -> None:
        self._chance = random.Random(seed)
        self.script = Script(f"seed-{seed}", QUEUES)
        self.expected: list[Seen] = []
        self._model = ModelPlayer(series)
        self._model.player.prepare(self.script)
        self._out: dict[str, list[int]] = {}
        self._consumers: dict[str, str] = {}
        self._numbers = iter(range(1, 1000))
        for _step in range(length):
            step = self._choose()
            self._take(step)
            if step[0].startswith("close"):
                self._look()
        self._look()
        for step in self._empty_dead_letters():
            self._take(step)

    def _take(self, step: Step) -> None:
        seen = self._model.player.play(step)
        self.script.steps.append(step)
        self.expected.append(seen)
        name = step[1] if len(step) > 1 else ""
        if step[0] in ("close_channel", "close_connection"):
            self._forget(name)
        for channel, lines in seen.items():
            for line in lines:
                if " tag=" in line and channel in ("a", "b", "c"):
                    self._out.setdefault(channel, []).append(int(line.split("tag=")[1].split()[0]))
                elif line.startswith("closed"):
                    self._forget(channel)

    def _look(self) -> None:
        for queue in QUEUES:
            self._take(("look", queue))

    def _forget(self, channel: str) -> None:
        self._out.pop(channel, None)
        self._consumers = {tag: on for tag, on in self._consumers.items() if on != channel}

    def _choose(self) -> Step:
        chance = self._chance
        channel, queue = chance.choice("abc"), chance.choice(list(QUEUES))
        kinds = ["publish"] * 8 + ["consume"] * 3 + ["get"] * 3 + ["settle"] * 10 + ["cancel"] * 2 + ["end", "purge"]
        kind = chance.choice(kinds)
        number = next(self._numbers)
        if kind == "consume" and len(self._consumers) < 5:
            tag = f"t{number}"
            self._consumers[tag] = channel
            return ("consume", channel, queue, tag, chance.choice([1, 1, 2, 3]), chance.choice([0, 0, 0, 5]))
        if kind == "cancel" and self._consumers:
            tag = chance.choice(sorted(self._consumers))
            return ("cancel", self._consumers.pop(tag), tag)
        if kind == "get":
            return ("get", channel, queue)
        if kind == "settle" and self._out.get(channel):
            return self._settle(channel)
        if kind == "end" and channel in self._out:
            return (chance.choice(["close_channel", "close_connection"]), channel)
        if kind == "purge" and chance.random() < 0.3:
            return ("purge", queue)
        priority = chance.choice([{}, {}, {"priority": 0}, {"priority": 9}])
        return ("publish", queue, f"m{number}", priority)

    def _settle(self, channel: str) -> Step:
        chance, out = self._chance, self._out[channel]
        tag = chance.choice(out)
        multiple = chance.random() < 0.15
        self._out[channel] = [other for other in out if other > tag] if multiple else [o for o in out if o != tag]
        kind = chance.choice(["ack", "nack", "nack", "reject"])
        if kind == "ack":
            return ("ack", channel, tag, multiple)
        if kind == "nack":
            return ("nack", channel, tag, chance.random() < 0.8, multiple)
        self._out[channel] = [other for other in out if other != tag]
        return ("reject", channel, tag, chance.random() < 0.5)

    def _empty_dead_letters(self) -> Iterator[Step]:
        while not self.expected[-1].get("d") or "get-empty" not in self.expected[-1]["d"]:
            yield ("get", "d", DEAD)


class ModelPlayer:
    """A player before a model of the broker.

    :param quiet: seconds without anything new after which a step is over.
    """

    def __init__(self, series: Series, quiet: float = 0.02) -> None:
        self.clock = Clock()
        self.broker = ModelBroker(self.clock, series)
        self.broker.queue_tick = TICK
        loop = VirtualLoop(Process(self.clock, "player"), Network(self.broker))

        def connect(opened: Callable[[Any], None]) -> None:
            ModelConnection(
                ConnectionParameters(heartbeat=0), loop, on_open_callback=opened, on_open_error_callback=None,
                on_close_callback=None,
            )  # fmt: skip

        def pass_time(seconds: float) -> None:
            self.clock.run(self.clock.now + seconds)

        self.player = Player(connect, lambda _done: pass_time(quiet), pass_time)


def play_to_model(script: Script, series: Series, model: Optional[ModelPlayer] = None) -> list[Seen]:
    """Return what is seen in each step when the model is the broker.

    :param model: one with other settings than a fresh one has.
    """
    model = model or ModelPlayer(series)
    model.player.prepare(script)
    return [model.player.play(step) for step in script.steps]
