"""Which errors are a person's to mend, and what is said of them."""

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from mask2former.faults import excerpt, explain, naming, shorten


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a.png: is empty"), "a.png: is empty"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: no such file or dire"),
        (OSError("a.png: cannot be written"), "a.png: cannot be written"),
        (MemoryError(), "the memory is full; "),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory is full; "),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "the memory is full; "),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"), "the memory is "),
        (InvalidCxxCompiler(), "PyTorch's compiler failed (No working C++ compiler found in "),
    ],
)
def test_fault_is_one_sentence(error: Exception, sentence: str) -> None:
    assert str(explain(error)).startswith(sentence)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TypeError("a bug"), KeyError("a bug")])
def test_bug_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_file_is_named_once() -> None:
    assert naming("a.png", "is empty") == "a.png: is empty"
    assert naming("a.png", "a.png: is empty") == "a.png: is empty"


def test_long_values_are_cut() -> None:
    assert shorten("x" * 60) == "x" * 60
    assert shorten("x" * 61) == "x" * 57 + "..."
    assert excerpt([1, "a"]) == "[1, 'a']"
