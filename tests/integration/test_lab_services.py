# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's services do what tests rely on: real answers, real storage, real queues, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pika
import pytest
import requests
import services
from botocore.exceptions import ClientError


def test_lab_chat_is_answered(ollama: services.OllamaServer) -> None:
    question = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": "smollm2:135m", "messages": [question], "stream": False}
    answer = requests.post(ollama.url + "/api/chat", json=body, timeout=120).json()
    assert "Paris" in answer["message"]["content"]
    assert answer["done_reason"] == "stop"


def test_lab_embedding_has_its_dimension(ollama: services.OllamaServer) -> None:
    body = {"model": "all-minilm", "input": ["one", "two"]}
    vectors = requests.post(ollama.url + "/api/embed", json=body, timeout=120).json()["embeddings"]
    assert [len(vector) for vector in vectors] == [384, 384]
    assert vectors[0] != vectors[1]


def test_ollama_over_an_empty_store_stops_and_starts() -> None:
    with services.ollama_server() as server:
        assert requests.get(server.url + "/api/tags", timeout=10).json() == {"models": []}
        for end in (server.stop, server.kill):
            end()
            with pytest.raises(requests.ConnectionError):
                requests.get(server.url, timeout=10)
            server.start()
            assert requests.get(server.url, timeout=10).ok


def test_lab_object_is_written_and_read(s3: services.S3Server) -> None:
    def client(secret: str) -> boto3.client:
        return boto3.client(
            "s3",
            endpoint_url=s3.endpoint_url,
            region_name=s3.region,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=secret,
        )

    good = client(s3.secret_key)
    good.create_bucket(Bucket="lab-services")
    good.put_object(Bucket="lab-services", Key="a/b", Body=b"0123456789", Metadata={"sha256": "x"})
    part = good.get_object(Bucket="lab-services", Key="a/b", Range="bytes=2-4")
    assert part["Body"].read() == b"234"
    assert part["Metadata"] == {"sha256": "x"}
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client("wrong").list_buckets()


def publish_and_get(url: str, queue: str) -> bytes:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"hello", mandatory=True)
        for _method, _properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=60):
            assert body is not None, "the broker delivered nothing within 60 s"
            content: bytes = body
            return content
    raise AssertionError("unreachable")


def test_lab_message_passes_a_quorum_queue(broker: services.Broker) -> None:
    assert publish_and_get(broker.amqp_url, "lab-services") == b"hello"
    # The series a test asked for is the one it got.
    assert re.match(r"(4\.0|3\.10)\.", broker.ctl("version"))


def test_broker_keeps_its_queues_over_a_stop_and_a_kill(fresh_broker: services.Broker) -> None:
    def send() -> None:
        with pika.BlockingConnection(pika.URLParameters(fresh_broker.amqp_url)) as connection:
            channel = connection.channel()
            channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
            channel.confirm_delivery()
            channel.basic_publish("", "kept", b"hello", mandatory=True)

    def delivered(wanted: int) -> int:
        # Deliveries, not the queue's length: that is only an estimate while its leader recovers.
        with pika.BlockingConnection(pika.URLParameters(fresh_broker.amqp_url)) as connection:
            seen = 0
            for _method, _properties, body in connection.channel().consume("kept", inactivity_timeout=60):
                seen += body is not None
                if seen == wanted or body is None:
                    break
            return seen

    ends: list[Callable[[], None]] = [fresh_broker.stop, fresh_broker.kill]
    for sent, end in enumerate(ends, start=1):
        send()
        end()
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            send()
        fresh_broker.start()
        assert delivered(sent) == sent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_test_run_leaves_nothing(number: signal.Signals) -> None:
    script = (
        "import services, time\n"
        "with services.s3_server() as s3, services.rabbitmq() as broker:\n"
        "    print(s3.root.parent, s3.process.pid, broker.name, flush=True)\n"
        "    time.sleep(300)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=services.LAB, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        directory, pid, container = process.stdout.readline().split()
        assert Path(directory).is_dir()
        process.send_signal(number)

    def left() -> list[str]:
        names = subprocess.run(
            [*services.podman(), "ps", "--all", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        remains = [path for path in (directory, f"/proc/{pid}") if os.path.exists(path)]
        return remains + [name for name in names if name == container]

    deadline = time.monotonic() + 60
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left() == []
