"""Tell open pages that something changed: one poll of the store for all of them. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.concurrency import run_in_threadpool

POLL_S = 0.2
BEAT_S = 2.0
"""Some things change without a word in the store: a lease runs out, a trainer falls silent."""


class ChangeFeed:
    """Watches a token that differs after each change, while anybody listens."""

    def __init__(self, token: Callable[[], object], *, poll_s: float = POLL_S, beat_s: float = BEAT_S) -> None:
        self._token = token
        self._poll_s = poll_s
        self._beat_s = beat_s
        self._changed = asyncio.Event()
        self._listeners = 0
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    async def listen(self) -> AsyncGenerator[None, None]:
        """Yields at once, then after each change and at least each `beat_s`; ends when the feed is closed."""
        self._listeners += 1
        try:
            while not self._closed:
                if self._poller is None or self._poller.done():
                    self._poller = asyncio.create_task(self._poll())
                # Taken before the listener looks, so that a change while it looks wakes it again.
                changed = self._changed
                yield
                try:
                    async with asyncio.timeout(self._beat_s):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._poller is not None:
                self._poller.cancel()

    def close(self) -> None:
        """End every stream now. Call it from the event loop."""
        self._closed = True
        self._changed.set()

    async def _poll(self) -> None:
        last = await run_in_threadpool(self._token)
        while not self._closed:
            await asyncio.sleep(self._poll_s)
            token = await run_in_threadpool(self._token)
            if token != last:
                last = token
                self._changed.set()
                if not self._closed:
                    self._changed = asyncio.Event()
