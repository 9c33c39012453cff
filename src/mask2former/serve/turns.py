"""One picture at a time: who comes waits for a turn, or is sent away where too many wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class FullError(Exception):
    """All places to wait are taken; `seconds` may pass until one is free."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"all places are taken for about {seconds} s")
        self.seconds = seconds


class GoneError(Exception):
    """Nobody waits for the work any more."""


class Turns:
    """Does one piece of work after the other, in the order they came, in a thread of its own.

    A network takes all cores for one picture, so that two at once gain nothing and need twice the
    memory. It is always the same thread, since each has OpenMP start threads of its own.
    """

    def __init__(self, places: int) -> None:
        self.places = places  # of those who wait
        self.inside = 0  # who has a place or the turn
        self.done = 0
        self.seconds = 1.0  # that the last piece of work took
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "mask2former")

    @property
    def waiting(self) -> int:
        """How many have a place and not the turn."""
        return max(self.inside - 1, 0)

    @contextmanager
    def place(self) -> Generator[None]:
        """Hold a place, from which `work` is called; FullError where there is none."""
        if self.inside > self.places:
            raise FullError(math.ceil(self.inside * self.seconds))
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @contextmanager
    def _timed(self) -> Generator[None]:
        start = time.perf_counter()
        yield
        self.seconds = time.perf_counter() - start
        self.done += 1

    async def work(self, piece: Callable[[], T], unless: Callable[[], Awaitable[bool]]) -> T:
        """Do a piece of work when it is its turn; the event loop goes on meanwhile.

        GoneError if `unless` says then that nobody wants it any more.
        """
        await unless()  # servers look for the end of a connection from the first question on
        async with self._turn:
            if await unless():
                raise GoneError
            with self._timed():
                return await asyncio.wrap_future(self._thread.submit(piece))

    def work_now(self, piece: Callable[[], T]) -> T:
        """Do a piece of work before there is an event loop."""
        return self._thread.submit(piece).result()

    def end(self) -> None:
        """Wait for the last piece of work; there will be no other."""
        self._thread.shutdown()
