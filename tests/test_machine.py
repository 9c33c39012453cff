"""Calls are timed by turns, and memory is that of a call alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2former import machine
from mask2former.machine import (
    PRODUCT_GFLOP,
    Timing,
    alternate,
    describe_machine,
    free_memory,
    peak,
    peak_memory,
    product_of_matrices,
    usable_cores,
)

MEGABYTE = 2**20


def take_memory(megabytes: int) -> Callable[[], object]:
    """Something large before, which does not count, and a call that takes so much."""
    np.ones(4 * megabytes * MEGABYTE, np.uint8)
    return lambda: np.ones(megabytes * MEGABYTE, np.uint8)


def test_timing_is_of_one_picture() -> None:
    assert Timing.of([2.0, 4.0, 6.0], pictures=2) == (2.0, 1.0)


def test_calls_come_in_turn_and_the_first_round_is_left_out() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = alternate(calls, rounds=2)
    assert "".join(order) == "cba" + "abc" + "cba"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_peak_memory_is_that_of_the_call_alone() -> None:
    extra = peak_memory(take_memory, 64)
    if extra is None:
        pytest.skip("this system does not tell")
    assert 60 < extra / MEGABYTE < 80


def test_peak_is_unknown_where_the_device_does_not_tell() -> None:
    assert peak(torch.device("mps")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_is_unknown_where_a_sandbox_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert peak(torch.device("cpu")) > 2**20
    status = tmp_path / "status"
    status.write_text("VmSize:  100 kB\nVmRSS:  50 kB\n")
    monkeypatch.setattr(machine, "Path", lambda _: status)
    assert peak(torch.device("cpu")) is None


def test_free_memory_is_at_most_what_a_container_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(machine, "left_memory", lambda: None)
    whole = free_memory(cpu)
    assert whole > 2**20
    monkeypatch.setattr(machine, "left_memory", lambda: 7000)
    assert free_memory(cpu) == 7000
    monkeypatch.setattr(machine, "left_memory", lambda: 2**63)
    assert free_memory(cpu) > whole / 2


def test_cores_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "allowed_cores", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.setattr(machine, "allowed_cores", lambda: 1)
    assert usable_cores() == 1
    monkeypatch.setattr(machine, "allowed_cores", lambda: 8)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == min(os.cpu_count(), 8)


def test_product_is_large_enough_to_tell_a_rate() -> None:
    assert PRODUCT_GFLOP > 5
    assert product_of_matrices()().shape == (1536, 1536)


def test_machine_is_described() -> None:
    found = describe_machine()
    assert found["torch"] == torch.__version__
    assert found["processor"]
    assert found["cores"] > 0
