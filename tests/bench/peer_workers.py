# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people would write instead of the fleet worker: consume lanes, call Ollama, answer.

usage: peer_workers.py echo|echo-typed|aio|celery|faststream SETTINGS
It prints "ready", and ends when its standard input does.

SETTINGS is JSON: it has ``url`` of the broker, ``exchange``, ``queues`` with their ``arguments``, ``slots`` (calls at
the same time) and ``ollama``. All give the guarantees that the worker gives: the answer is published with confirm and
mandatory, and the request is acknowledged after the confirm, not before. Each is written as its documentation teaches,
with the settings that this needs and no others; none checks, limits, logs, counts or schedules anything, which the
worker does. All but the plain echo answer in the protocol of the requesters (typed, docs/wire-protocol.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from datetime import datetime, timezone
from typing import Any

TYPE = "llm.fleet.response"

#: Where answers come from.
NODE = socket.gethostname()

#: What the stub answers, without its work.
RESULT = {"message": {"role": "assistant", "content": "Good morning."}, "prompt_eval_count": 3, "eval_count": 2}


def ready() -> None:
    print("ready", flush=True)


def echo(settings: dict[str, Any], typed: bool = False) -> None:
    """Answer with the request itself: what broker and library cost when there is no work at all.

    :param typed: answer in the protocol instead, to tell what that costs, broker and requester included.
    """
    import pika

    waiting: dict[int, int] = {}
    published = 0
    left = len(settings["queues"])

    def on_open(_connection: Any) -> None:
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel: Any) -> None:
        def confirmed(frame: Any) -> None:
            if isinstance(frame.method, pika.spec.Basic.Nack):
                sys.exit("the broker refused an answer")
            last = frame.method.delivery_tag
            for tag in [tag for tag in waiting if tag == last or (frame.method.multiple and tag <= last)]:
                channel.basic_ack(waiting.pop(tag))

        def arrived(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal published
            published += 1
            waiting[published] = method.delivery_tag
            answer = pika.BasicProperties(
                content_type="application/json", type=TYPE, correlation_id=properties.correlation_id
            )
            if typed:
                content, headers, about = answer_of("chat", json.loads(body)["model"], RESULT, time.time())
                body = json.dumps(content).encode()
                answer = pika.BasicProperties(
                    headers=headers, correlation_id=properties.correlation_id, delivery_mode=1, **about
                )
            channel.basic_publish("", properties.reply_to, body, answer, mandatory=True)

        def consuming(_frame: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                ready()

        channel.confirm_delivery(confirmed)
        channel.basic_qos(prefetch_count=settings["slots"])
        for queue in settings["queues"]:
            channel.basic_consume(queue, arrived, callback=consuming)

    connection = pika.SelectConnection(pika.URLParameters(settings["url"]), on_open_callback=on_open)
    connection.ioloop.start()


async def aio(settings: dict[str, Any]) -> None:
    """A plain loop of aio-pika and aiohttp."""
    import aio_pika
    import aiohttp

    connection = await aio_pika.connect_robust(settings["url"])
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await channel.set_qos(prefetch_count=settings["slots"])
    slots = asyncio.Semaphore(settings["slots"])
    async with aiohttp.ClientSession(settings["ollama"]) as session:

        async def serve(message: Any) -> None:
            async with slots, message.process(requeue=True):
                kind, body = call_of(json.loads(message.body))
                begun = time.time()
                async with session.post(f"/api/{kind}", json=body) as answer:
                    answer.raise_for_status()
                    result = await answer.json()
                content, headers, about = answer_of(kind, body["model"], result, begun)
                reply = aio_pika.Message(
                    json.dumps(content).encode(), headers=headers, correlation_id=message.correlation_id, **about
                )
                await channel.default_exchange.publish(reply, message.reply_to, mandatory=True)

        for name in settings["queues"]:
            await (await channel.get_queue(name)).consume(serve)
        ready()
        await asyncio.Event().wait()


async def faststream(settings: dict[str, Any]) -> None:
    """FastStream, with aiohttp."""
    import aiohttp
    from faststream import AckPolicy, FastStream
    from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

    channel = Channel(prefetch_count=settings["slots"], publisher_confirms=True, on_return_raises=True)
    broker = RabbitBroker(settings["url"], default_channel=channel, logger=None)
    app = FastStream(broker, logger=None)
    slots = asyncio.Semaphore(settings["slots"])
    async with aiohttp.ClientSession(settings["ollama"]) as session:

        async def serve(body: dict[str, Any], message: RabbitMessage) -> None:
            async with slots:
                kind, arguments = call_of(body)
                begun = time.time()
                async with session.post(f"/api/{kind}", json=arguments) as answer:
                    answer.raise_for_status()
                    result = await answer.json()
                content, headers, about = answer_of(kind, arguments["model"], result, begun)
                about["message_type"] = about.pop("type")
                del about["app_id"]  # FastStream sets one for all, or none
                await broker.publish(
                    content,
                    queue=message.reply_to,
                    headers=headers,
                    correlation_id=message.correlation_id,
                    mandatory=True,
                    **about,
                )

        # FastStream looks them up in the module, where a library that only this contestant needs is not imported.
        serve.__annotations__ = {"body": dict[str, Any], "message": RabbitMessage, "return": None}
        for name in settings["queues"]:
            queue = RabbitQueue(name, declare=False)
            broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR, no_reply=True)(serve)
        app.after_startup(ready)
        await app.run()


def celery(settings: dict[str, Any]) -> None:
    """Celery with threads, and requests. The task answers itself: the result backend neither confirms nor insists."""
    import requests
    from celery import Celery
    from celery.signals import worker_ready
    from kombu import Exchange, Queue

    exchange = Exchange(settings["exchange"], "topic", durable=True)
    app = Celery("bench", broker=settings["url"], set_as_current=True)
    app.conf.update(
        task_queues=[
            Queue(name, exchange, routing_key=name, queue_arguments=settings["arguments"])
            for name in settings["queues"]
        ],
        task_default_queue=settings["queues"][0],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_pool_limit=settings["slots"] + 1,
        broker_transport_options={"confirm_publish": True},
    )
    mine = threading.local()

    @app.task(name="bench.serve", bind=True)  # type: ignore[untyped-decorator]
    def serve(task: Any, request: dict[str, Any]) -> None:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
        kind, body = call_of(request)
        begun = time.time()
        answer = mine.session.post(f"{settings['ollama']}/api/{kind}", json=body)
        answer.raise_for_status()
        content, headers, about = answer_of(kind, body["model"], answer.json(), begun)
        del about["content_type"]  # follows from the serializer
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                content,
                exchange="",
                routing_key=task.request.reply_to,
                headers=headers,
                correlation_id=task.request.correlation_id,
                serializer="json",
                delivery_mode=1,
                mandatory=True,
                **about,
            )

    worker_ready.connect(lambda **_facts: ready(), weak=False)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    app.worker_main(["worker", "--pool", "threads", "--concurrency", str(settings["slots"]), *quiet])


def call_of(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what of Ollama's API a request asks for, and the body."""
    kind = request.pop("request_type", "chat")
    if kind != "embed":
        request["stream"] = False
    return kind, request


def answer_of(
    kind: str, model: str, result: dict[str, Any], begun: float
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what requesters read as the answer: its body, its headers and its other properties.

    :param result: what Ollama has answered.
    :param begun: when it was asked, in seconds since 1970.
    """
    ended = time.time()
    milliseconds = round(1000 * (ended - begun))
    first, last = (
        datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds") for moment in (begun, ended)
    )
    read, written = result.get("prompt_eval_count", 0), result.get("eval_count", 0)
    body = {
        "message_context": {},
        "request_type": kind,
        "routing": {
            "provider": "ollama",
            "model": model,
            "tier": "fleet",
            "strategy": "fleet_dispatch",
            "latency_ms": milliseconds,
        },
        "tokens": {"input": read, "output": written, "total": read + written},
        "stop": {"reason": result.get("done_reason")},
        "cost": {"estimated_usd": 0.0, "provider": "ollama", "model": model},
        "timestamps": {"received": first, "provider_start": first, "provider_end": last, "returned": last},
        "audit": {"fleet:execute": {"outcome": "success", "duration_ms": milliseconds, "timestamp": last}},
        "stream": False,
        **({"embeddings": result["embeddings"]} if kind == "embed" else {"message": result["message"]}),
    }
    headers = {
        "legion_protocol_version": "2.0",
        "x-legion-llm-provider": "ollama",
        "x-legion-llm-model": model,
        "x-legion-llm-request-type": kind,
        "x-legion-llm-schema-version": "1.0.0",
        "x-legion-hostname": NODE,
    }
    about = {
        "content_type": "application/json",
        "content_encoding": "identity",
        "message_id": f"resp_{uuid.uuid4()}",
        "timestamp": int(ended),
        "type": TYPE,
        "app_id": "bench",
    }
    return body, headers, about


def end_with_parent() -> None:
    """End when standard input does, whatever the framework is doing: a benchmark that dies leaves nobody behind."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    end_with_parent()
    if kind in ("aio", "faststream"):
        asyncio.run({"aio": aio, "faststream": faststream}[kind](settings))
    elif kind == "celery":
        celery(settings)
    else:
        echo(settings, typed=kind == "echo-typed")


if __name__ == "__main__":
    main()
