"""Work is done in the order it came, by one thread, and not for nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mask2former.serve.turns import FullError, GoneError, Turns


async def wanted() -> bool:
    return False


async def unwanted() -> bool:
    return True


def test_work_is_done_in_turn_by_one_thread() -> None:
    turns, done, threads = Turns(9), [], set()

    def piece(number: int) -> None:
        threads.add(threading.get_ident())
        done.append(number)

    async def all_of_it() -> None:
        await asyncio.gather(*(turns.work(lambda k=k: piece(k), wanted) for k in range(5)))

    asyncio.run(all_of_it())
    assert done == [0, 1, 2, 3, 4]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert turns.done == 5
    turns.end()


def test_nobody_is_worked_for_who_went_away() -> None:
    turns, done = Turns(1), []
    with pytest.raises(GoneError):
        asyncio.run(turns.work(lambda: done.append(1), unwanted))
    assert (done, turns.done) == ([], 0)
    turns.end()


def test_places_are_bounded_and_given_back() -> None:
    turns = Turns(1)
    turns.seconds = 2.5
    with turns.place(), turns.place():
        assert turns.waiting == 1
        with pytest.raises(FullError, match="about 5 s") as error, turns.place():
            pass
        assert error.value.seconds == 5
    assert (turns.inside, turns.waiting) == (0, 0)
    turns.end()
