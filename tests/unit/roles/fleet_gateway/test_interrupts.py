# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that are ended from outside, and what is left of that for the task around them."""

from __future__ import annotations

import asyncio

import pytest
from fleet_gateway.runtime.interrupts import Interrupt, within

from .memory_front import run


def test_within_ends_a_block_that_takes_longer_and_the_task_goes_on() -> None:
    async def test() -> None:
        with pytest.raises(asyncio.TimeoutError), within(0.01):
            await asyncio.sleep(10)
        await asyncio.sleep(0.02)
        with within(10):
            await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError), within(-1):
            await asyncio.sleep(10)

    run(test())


def test_within_leaves_what_is_raised_and_the_cancelling_of_the_task_alone() -> None:
    async def test() -> None:
        with pytest.raises(KeyError), within(10):
            raise KeyError
        ended: list[str] = []

        async def bounded() -> None:
            try:
                with within(10):
                    await asyncio.sleep(10)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        task = asyncio.ensure_future(bounded())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["cancelled"]

    run(test())


def test_within_of_within_tells_which_one_is_over() -> None:
    async def test() -> None:
        with pytest.raises(asyncio.TimeoutError), within(0.01):
            with within(10):
                await asyncio.sleep(10)
        with within(10):
            with pytest.raises(asyncio.TimeoutError), within(0.01):
                await asyncio.sleep(10)
            await asyncio.sleep(0)

    run(test())


def test_interrupt_after_its_block_does_nothing() -> None:
    async def test() -> None:
        interrupt = Interrupt()
        interrupt.close()
        interrupt()
        await asyncio.sleep(0.01)
        assert not interrupt.has_come

    run(test())
