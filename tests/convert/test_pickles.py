"""Hostile and damaged files: one sentence, and nothing of them runs."""

from __future__ import annotations

import builtins
import codecs
import os
import pickle
import resource
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2former.convert.pickles import load_pickle, load_torch
from mask2former.convert.read import read_tensors


class Call:
    """What a hostile file has in place of a tensor."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touch(path: Path) -> str:
    return f"open({str(path)!r}, 'w').close()"


def attacks(mark: Path) -> dict[str, object]:
    """Each would make the file `mark` if anything of it ran."""
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "builtins.eval": Call(eval, touch(mark)),
        "builtins.exec": Call(exec, touch(mark)),
        "builtins.getattr": Call(getattr, Call(__import__, "os"), "system"),
        "io.open": Call(open, str(mark), "w"),
        "numpy.load": Call(np.load, str(mark)),
        "codecs.open": Call(codecs.open, str(mark), "w"),
        "nested": OrderedDict(a=[{"b": (Call(os.system, f"touch {mark}"),)}]),
        "in an array": Call(np.array, [Call(os.system, f"touch {mark}")], object),
    }


@pytest.mark.parametrize("name", sorted(attacks(Path())))
@pytest.mark.parametrize("protocol", [2, 4])  # GLOBAL and STACK_GLOBAL
def test_hostile_pickle_is_refused_and_does_nothing(tmp_path, name, protocol):
    mark = tmp_path / "mark"
    document = {"model": {"a.weight": np.zeros(2)}, "x": attacks(mark)[name]}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(document, protocol=protocol))
    with pytest.raises(ValueError, match="nothing of it was run") as fault:
        read_tensors(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not mark.exists()


@pytest.mark.parametrize("name", sorted(attacks(Path())))
@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_torch_file_does_nothing(tmp_path, name, zipped):
    mark = tmp_path / "mark"
    document = {"model": {"a.weight": torch.zeros(2)}, "x": attacks(mark)[name]}
    path = tmp_path / "model.pth"
    torch.save(document, path, _use_new_zipfile_serialization=zipped)
    if name == "builtins.getattr" and not zipped:
        return  # torch itself refuses it under several names
    with pytest.raises(ValueError, match="nothing of it was run"):
        read_tensors(path)
    assert not mark.exists()


def test_framework_names_do_not_reach_the_framework(tmp_path):
    """A name below an allowed package is a placeholder, even if it could be imported."""
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.ones(2)}, "x": Call(Path, "/tmp")}, path)
    assert not isinstance(load_torch(path)["x"], Path)
    assert read_tensors(path).tensors["a"].tolist() == [1, 1]


def test_allowed_names_are_free_again_after_a_load(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.ones(2)}, "x": Call(Path, "/tmp")}, path)
    before = set(torch.serialization.get_safe_globals())
    read_tensors(path)
    assert set(torch.serialization.get_safe_globals()) == before


def build_on_class() -> bytes:
    """BUILD on the class OrderedDict, to change it for the whole process."""
    return b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93N}\x8c\x04keys\x8c\x04evils\x86b."


def test_build_reaches_no_class(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(build_on_class())
    assert load_pickle(path) is OrderedDict
    assert callable(OrderedDict.keys)


BOMBS = {
    "a string longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "a number longer than the file": b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"1.",
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "a memo of four billion": b"\x80\x02}r\xff\xff\xff\xff.",
    "lists of lists": b"\x80\x02" + b"]" * 100_000 + b".",
    "nested without end": b"\x80\x02" + b"(" * 100_000,
    "a huge shape": pickle.dumps({"model": {"a": np.zeros(4)}}, 2).replace(
        b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"
    ),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_pickle_bomb_takes_no_memory(tmp_path, name):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"bomb\.pkl"):
        read_tensors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_one_array_under_many_names_claims_more_than_the_file_has(tmp_path):
    array = np.zeros(100_000, dtype=np.float32)
    path = tmp_path / "many.pkl"
    path.write_bytes(pickle.dumps({"model": {f"a.{i}": array for i in range(100)}}))
    with pytest.raises(ValueError, match="claims 40,000,000 bytes"):
        read_tensors(path)


def test_claims_are_refused_before_memory_is_spent(tmp_path):
    """Arrays of their own, which share their bytes."""
    data, dtype = bytes(1 << 20), np.dtype("f4")
    state = (1, (1 << 18,), dtype, False, data)

    class Shared:
        def __reduce__(self):
            return np.ndarray, ((0,), dtype), state

    path = tmp_path / "shared.pkl"
    path.write_bytes(pickle.dumps({"model": {f"a.{i}": Shared() for i in range(600)}}))
    tracemalloc.start()
    with pytest.raises(ValueError, match="claims 629,145,600 bytes"):
        read_tensors(path)
    spent = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 8 << 20


def test_repeated_values_claim_more_than_the_file_has(tmp_path):
    path = tmp_path / "stride.pth"
    torch.save({"model": {"a": torch.zeros(1).expand(1 << 40)}}, path)
    with pytest.raises(ValueError, match="claims 4,398,046,511,104 bytes"):
        read_tensors(path)


def test_packed_archive_is_refused(tmp_path):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"model": {"a": torch.zeros(1 << 20)}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
    with pytest.raises(ValueError, match="would grow to"):
        read_tensors(packed)


@pytest.mark.parametrize("dtype", [object, "U4", "datetime64[s]"])
def test_arrays_of_no_numbers_are_refused(tmp_path, dtype):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": np.zeros(2, dtype=dtype)}}))
    with pytest.raises(ValueError, match="are no weights"):
        read_tensors(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.array(3.5),
    ],
    ids=["big endian", "Fortran", "half", "no axis"],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_every_layout_are_read(tmp_path, array, protocol):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": array}, "best": np.float64(2)}, protocol))
    tensor = read_tensors(path).tensors["a"]
    assert tensor.dtype == torch.float32
    assert np.array_equal(tensor.numpy(), array.astype(np.float32))


def test_builtins_are_whole_after_all_this():
    assert builtins.eval("1 + 1") == 2
