"""Items come in order, one ahead and no more; faults in their turn; no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mask2former.engine.pipeline import ahead


def until(condition) -> None:
    """Wait for another thread."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the other thread does nothing"
        time.sleep(0.001)


def test_items_come_in_order_whatever_they_are() -> None:
    assert list(ahead(iter([3, None, 0, "", 1]))) == [3, None, 0, "", 1]
    assert list(ahead(iter([]))) == []
    assert list(ahead(ahead(iter(range(50))))) == list(range(50))


def test_one_item_is_made_ahead_in_another_thread() -> None:
    made: list[int] = []
    makers: set[int] = set()

    def make(number: int) -> int:
        makers.add(threading.get_ident())
        made.append(number)
        return number

    items = ahead(map(make, range(9)))
    assert next(items) == 0
    until(lambda: made == [0, 1])
    time.sleep(0.02)
    assert made == [0, 1]
    assert next(items) == 1
    until(lambda: made == [0, 1, 2])
    items.close()
    assert threading.get_ident() not in makers


def test_fault_is_raised_in_its_turn() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise ValueError("the third is broken")
        return number

    items = ahead(map(make, range(5)))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="the third is broken"):
        next(items)


@pytest.mark.parametrize("end", ["close", "exception", "interrupt"])
def test_leaving_early_ends_every_thread_and_stage(end: str) -> None:
    closed: list[str] = []
    before = threading.active_count()

    def stage(name: str, items: Iterator[int]) -> Iterator[int]:
        try:
            yield from items
        finally:
            closed.append(name)

    items = ahead(stage("second", ahead(stage("first", iter(range(100))))))
    assert next(items) == 0
    if end == "close":
        items.close()
    else:
        error = KeyboardInterrupt if end == "interrupt" else RuntimeError
        with pytest.raises(error):
            items.throw(error())
    assert sorted(closed) == ["first", "second"]
    assert threading.active_count() == before
