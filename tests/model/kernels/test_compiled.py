"""Compiled loops: cached where that is possible, and shared out among threads."""

import numpy as np
import pytest
import torch

compiled = pytest.importorskip("mask2former.model.kernels.compiled")


def count(first, last, seen):
    seen[first:last] += 1


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("turns", [range(0), range(1), range(3, 10)])
def test_each_turn_is_taken_once(threads, turns, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    seen = np.zeros(12, int)
    compiled.share_out(count, turns, seen)
    assert seen.nonzero()[0].tolist() == list(turns)
    assert seen.max(initial=0) <= 1


def test_a_fault_of_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fail(first, last):
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        compiled.share_out(fail, range(4))


def test_number_of_threads_stays():
    kernel = compiled.compiled(count)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = np.zeros(8, int)
        compiled.share_out(kernel, range(8), seen)
        assert (seen == 1).all()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_loops_are_compiled_where_no_cache_can_be_written():
    names = {}
    exec("def double(array):\n    array *= 2", names)  # has no file to put a cache beside
    with pytest.raises(RuntimeError, match="no locator available"):
        compiled.njit(cache=True)(names["double"])
    array = np.ones(3)
    compiled.compiled(names["double"])(array)
    assert (array == 2).all()
