# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how many tokens a second an Ollama loses while its node sends blobs to a neighbour.

usage: python tests/bench/upload_bench.py [--rate 50M] [--blob 512M] [--rounds 9]

A real Ollama answers chats, one after the other; every second chat runs beside an upload. The blob server of the role
ollama_models sends one blob again and again at the default limit of its rate, with the niceness of its unit. The
receiver, which would be another node, runs on this machine too: its processor time is printed, because it belongs to
the loss that is measured here, and not to that of a node.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[1]
FILES = ROOT / "roles/ollama_models/files"
sys.path[:0] = [str(BENCH), str(BENCH.parent / "lab"), str(BENCH.parent / "integration" / "mirror"), str(FILES)]

import blob_servers  # noqa: E402
import services  # noqa: E402
from blob_server._mirror.peers.signature import RequestSigner  # noqa: E402
from machine import processor_seconds  # noqa: E402
from mirror_cases import Stored  # noqa: E402
from sizes import size  # noqa: E402

#: Niceness of the unit (ollama-blobs.service.j2).
NICE = "10"
MODEL = "smollm2:135m"
TOKENS = 256
BLOCK, RANGE = 1 << 20, 16 << 20


def tokens_a_second(url: str) -> float:
    """Ask for one answer; return the rate that Ollama tells."""
    body = {
        "model": MODEL,
        "prompt": "Write a long story about a fleet of ships.",
        "stream": False,
        "options": {"num_predict": TOKENS, "seed": 1, "temperature": 0},
    }
    request = urllib.request.Request(f"{url}/api/generate", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=300) as answer:
        told = json.load(answer)
    return float(told["eval_count"]) / (told["eval_duration"] / 1e9)


def receive(address: str, digest: str, blob: int) -> None:
    """Receive a blob again and again, range by range, and drop it, until the process is ended."""
    target = f"/v1/blobs/{digest.replace(':', '-')}"
    signer = RequestSigner(blob_servers.SECRET)
    for start in itertools.cycle(range(0, blob, RANGE)):
        asked = {"host": address, "range": f"bytes={start}-{min(start + RANGE, blob) - 1}"}
        request = urllib.request.Request(f"http://{address}{target}", headers=signer.signed(target, asked))
        with urllib.request.urlopen(request) as answer:
            while answer.read(BLOCK):
                pass


@contextlib.contextmanager
def receiving(address: str, digest: str, blob: int) -> Iterator[int]:
    """Receive a blob in another process; yield its number.

    :raises RuntimeError: if the process ended by itself.
    """
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(address, digest, blob))
    process.start()
    try:
        yield process.pid or 0
        if not process.is_alive():
            raise RuntimeError(f"the receiver has ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/bench/upload_bench.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=size, default=size("50M"), help="bytes a second that the node may send")
    parser.add_argument("--blob", type=size, default=size("512M"), help="bytes of the blob")
    parser.add_argument("--rounds", type=int, default=9, help="chats alone, and as many beside an upload")
    options = parser.parse_args()
    alone, beside, sender, receiver = [], [], [], []
    with services.scratch("upload") as place, services.ollama_server(services.model_store()) as ollama:
        model = Stored(place / "store", "large", [options.blob])
        serving = blob_servers.running(model.path, [model.name], ("nice", "-n", NICE), max_upload_rate=options.rate)
        with serving as (address, server):
            tokens_a_second(ollama.url)
            for _round in range(options.rounds):
                alone.append(tokens_a_second(ollama.url))
                with receiving(address, model.weights, options.blob) as reader:
                    time.sleep(1.0)
                    began, sent, got = time.monotonic(), processor_seconds(server.pid), processor_seconds(reader)
                    beside.append(tokens_a_second(ollama.url))
                    seconds = time.monotonic() - began
                    sender.append((processor_seconds(server.pid) - sent) / seconds)
                    receiver.append((processor_seconds(reader) - got) / seconds)
    ratios = [1 - one / other for one, other in zip(beside, alone)]
    print(f"tokens a second alone       {statistics.median(alone):8.1f}  ({min(alone):.1f} to {max(alone):.1f})")
    print(f"beside an upload            {statistics.median(beside):8.1f}  ({min(beside):.1f} to {max(beside):.1f})")
    print(f"lost, median of the pairs   {100 * statistics.median(ratios):8.1f} %")
    print(f"processor of the sender     {100 * statistics.median(sender):8.1f} % of a core")
    print(f"processor of the receiver   {100 * statistics.median(receiver):8.1f} % of a core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
