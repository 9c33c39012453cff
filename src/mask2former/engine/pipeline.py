"""Stages of work that overlap: each in a thread of its own, no further ahead than one item."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items in the same order; while the caller uses one, a thread makes the next.

    What goes wrong with an item is raised in its turn. Leaving early ends the thread after the item
    it is at, and closes `items`.
    """
    with ExitStack() as stack:
        if isinstance(items, Generator):
            stack.callback(items.close)
        thread = stack.enter_context(ThreadPoolExecutor(1))
        coming = thread.submit(_next, items)
        while item := coming.result():
            coming = thread.submit(_next, items)
            yield item.pop()  # which leaves no reference to it here


def in_turn(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The items as they come, for those of which only one at a time may be in memory."""
    return items


def _next(items: Iterator[T]) -> list[T]:
    """The next item, or nothing after the last."""
    for item in items:
        return [item]
    return []
