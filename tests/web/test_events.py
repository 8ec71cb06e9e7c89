"""The feed of changes wakes all who listen, and polls for all of them once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from pairplay.web.events import ChangeFeed


class Token:
    def __init__(self) -> None:
        self.value = 0
        self.asked = 0
        self.lock = threading.Lock()

    def __call__(self) -> int:
        with self.lock:
            self.asked += 1
        return self.value


async def until(condition: Callable[[], bool]) -> None:
    """However slow the machine is, within reason."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def count(feed: ChangeFeed, seen: list[int]) -> None:
    async for _ in feed.listen():
        seen[0] += 1


def test_one_poll_serves_all_listeners() -> None:
    async def scene() -> None:
        token = Token()
        feed = ChangeFeed(token, poll_s=0.02, beat_s=60)
        seen = [[0] for _ in range(20)]
        tasks = [asyncio.create_task(count(feed, one)) for one in seen]
        await asyncio.sleep(0.1)
        assert seen == [[1]] * 20  # at once, and then silence
        token.value = 1
        await until(lambda: seen == [[2]] * 20)
        assert token.asked < 100  # twenty polls of their own would be ten times as many
        feed.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 1)

    asyncio.run(scene())


def test_a_change_while_the_listener_is_busy_is_not_missed() -> None:
    async def scene() -> None:
        token = Token()
        feed = ChangeFeed(token, poll_s=0.01, beat_s=60)
        stream = feed.listen()
        await anext(stream)
        await until(lambda: token.asked > 1)
        token.value = 1
        asked = token.asked
        await until(lambda: token.asked > asked + 2)  # the poll has seen it, and nobody was waiting
        await asyncio.wait_for(anext(stream), 0.5)
        await stream.aclose()

    asyncio.run(scene())


def test_listeners_look_now_and_then_even_if_nothing_changed() -> None:
    async def scene() -> None:
        feed = ChangeFeed(Token(), poll_s=60, beat_s=0.02)
        seen = [0]
        task = asyncio.create_task(count(feed, seen))
        await until(lambda: seen[0] >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())


def test_nobody_listens_nobody_polls() -> None:
    async def scene() -> None:
        token = Token()
        feed = ChangeFeed(token, poll_s=0.01, beat_s=60)
        first = asyncio.create_task(count(feed, [0]))
        await until(lambda: token.asked > 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(0.05)
        asked = token.asked
        await asyncio.sleep(0.05)
        assert token.asked == asked
        # And it starts again for the next one.
        seen = [0]
        second = asyncio.create_task(count(feed, seen))
        await until(lambda: token.asked > asked + 1)
        token.value = 1
        await until(lambda: seen == [2])
        feed.close()
        await asyncio.wait_for(second, 1)

    asyncio.run(scene())
