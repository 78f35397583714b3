# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from typing import Any

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.byte_counter import ByteCounter, CounterReading


def layer(digest: str, completed: int, total: int = 100) -> dict[str, Any]:
    return {"status": f"pulling {digest}", "digest": digest, "total": total, "completed": completed}


def test_bytes_of_many_threads_add_up() -> None:
    counter = ByteCounter()
    counter.expect("a", 80_000, kept=100)

    def count() -> None:
        for _time in range(900):
            counter.add(10, "b")

    threads = [threading.Thread(target=count) for _thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read() == CounterReading("b", "", 72_100, 80_000, 100)


def test_bytes_that_come_twice_are_not_more_than_all() -> None:
    counter = ByteCounter()
    counter.expect("a", 100, kept=4096)  # a block of the disk
    assert counter.read() == CounterReading("a", "", 100, 100, 100)
    counter.add(5)
    assert counter.read().done == 100


def test_layers_of_a_pull() -> None:
    counter = ByteCounter()
    counter.follow("m", {"status": "pulling manifest"})
    assert counter.read() == CounterReading("m", "pulling manifest")
    counter.follow("m", layer("a", 30))
    counter.follow("m", layer("a", 50))
    counter.follow("m", layer("b", 0, 10))
    assert counter.read() == CounterReading("m", "", 50, 110, 30), "what a layer begins with was there before"
    counter.follow("m", layer("a", 20))
    assert counter.read().done == 20, "Ollama dropped what did not verify"
    counter.follow("m", {"status": "pulling b", "digest": "b"})
    assert counter.read() == CounterReading("m", "pulling b", 20, 110, 30)
    counter.follow("m", {"status": "writing manifest"})
    assert counter.read().step == "writing manifest"
