"""Pickles read without running anything of them: plain values, arrays, and inert placeholders.

A pickle is a program. Ours may build containers and NumPy arrays, and these are stand-ins that keep
what they are given until the whole file is read. The reader is Python's own that is written in
Python; the one in C sets memory aside for whatever size a file claims.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

NUMBER = re.compile(r"b1|[iuf][1248]")
LEFT_BESIDE = re.compile(
    r"(?:addict|argparse|detectron2|fvcore|lightning|mmcv|mmdet|mmengine|mmseg|mmtrack|omegaconf"
    r"|pathlib|pytorch_lightning|yacs)\..+|builtins\.getattr"
)
"""Settings and counters of training programs; `getattr` is how old pickles spell a method."""


class Latin1:
    """`_codecs.encode`: how a pickle of Python 2's time spells bytes. No copy is made."""

    def __init__(self, text: str, encoding: str = "latin1") -> None:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes are spelt in no known way")
        self.text = text

    def __len__(self) -> int:
        return len(self.text)


class DType:
    """`numpy.dtype`, of numbers only."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"arrays of the type {code!r} are no weights")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array's byte order is unknown")
        self.code = state[1] + self.code


class Array:
    """`numpy.ndarray`: shape, type and bytes, made into an array only when asked for."""

    def __init__(self, *initial: object) -> None:
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    @property
    def nbytes(self) -> int:
        """How many bytes it claims; nothing is made of them."""
        match self.state:
            case (*_, Latin1() | str() | bytes() | bytearray() as data):
                return len(data)
        return 0

    @cached_property
    def values(self) -> np.ndarray:
        """The array itself. Raises ValueError where shape, type and bytes do not agree."""
        match self.state:
            case (_, tuple() as shape, DType() as dtype, bool() | int() as transposed, data):
                order = "F" if transposed else "C"
                stored = np.frombuffer(_as_bytes(data), dtype.code).reshape(shape, order=order)
                return stored.astype(stored.dtype.newbyteorder("="), order="C")
        raise ValueError("an array is not whole")


def scalar(dtype: DType, data: object) -> Any:
    """`numpy.core.multiarray.scalar`: a number, such as a best score."""
    return np.frombuffer(_as_bytes(data), dtype.code)[0].item()


def from_buffer(data: object, dtype: DType, shape: tuple, order: str) -> Array:
    """`numpy.core.numeric._frombuffer`: an array in a pickle of protocol 5."""
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


NUMPY = {
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    "_codecs.encode": Latin1,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (
            ("multiarray._reconstruct", Array),
            ("multiarray.scalar", scalar),
            ("numeric._frombuffer", from_buffer),
        )
    },
}


class Inert:
    """Whatever a training framework left beside the weights: takes anything, and keeps little."""

    def __new__(cls, *given: object) -> Any:
        """An empty mapping, which further steps of a pickle may fill."""
        return OrderedDict()


class PlainUnpickler(pickle._Unpickler):
    """Builds containers, numbers, text and NumPy stand-ins; refuses every other name."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The stand-in of a name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        stand_in = NUMPY.get(f"{module}.{name}")
        if stand_in is None:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return stand_in

    def load_build(self) -> None:
        """Give an object its state; the usual step would write on any object, classes too."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Array | DType):
            self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build


def load_pickle(path: Path) -> Any:
    """What a plain pickle holds; its arrays are `Array`s.

    Raises ValueError where it is damaged, or asks for anything but containers, numbers and arrays.
    """
    with path.open("rb") as file:
        return _read(path, lambda: PlainUnpickler(file, encoding="latin1").load())


def load_torch(path: Path) -> Any:
    """What `torch.save` wrote, tensors and plain values; objects of training frameworks are inert.

    Raises ValueError where the file is damaged or asks for any other name.
    """
    inert = [(Inert, name) for name in _foreign_names(path) if LEFT_BESIDE.fullmatch(name)]
    known = [(stand_in, name) for name, stand_in in NUMPY.items()]
    with torch.serialization.safe_globals([*known, *inert]):
        return _read(path, lambda: torch.load(path, map_location="cpu", weights_only=True))


def _foreign_names(path: Path) -> list[str]:
    """The names a file asks for which torch does not know; the oldest form does not tell."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError):
        return []


def _read(path: Path, load: Callable[[], Any]) -> Any:
    """Turn whatever goes wrong while a file is read into one sentence."""
    try:
        return load()
    except (MemoryError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{path} claims sizes that no weights have ({type(error).__name__}): damaged or "
            "hostile, it was not read"
        ) from None
    except Exception as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is not None:
            raise ValueError(
                f"{path} asks for '{asked[1]}', which no weights need; nothing of it was run. If "
                "you trust the file, save its state dict alone and convert that"
            ) from None
        raise ValueError(
            f"{path} is damaged or no file of weights ({_reason(error)}); fetch it again"
        ) from None


def _reason(error: Exception) -> str:
    """The part of a long message that is about the file."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Weights only load failed"):
        lines = lines[1:]
    return (lines[0] if lines else type(error).__name__)[:200]


def _as_bytes(data: object) -> bytes | bytearray:
    match data:
        case Latin1():
            return data.text.encode("latin1")
        case str():
            return data.encode("latin1")
        case bytes() | bytearray():
            return data
    raise ValueError("an array has no bytes")
