"""Tensors out of files of every kind, told by their first bytes; nothing of a file is ever run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mask2former.convert.pickles import Array, load_pickle, load_torch
from mask2former.faults import excerpt
from mask2former.files import read_json

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
OLD_TORCH = (
    b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # after the pickle's first two bytes
)
NO_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer and not the weights; run `git lfs pull`",
    b"<": "is a web page and not the weights; download the file itself",
}
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
TIES = 4
"""How often all bytes of a file may be used: networks tie a few tensors to each other."""


class Stored(NamedTuple):
    """What a file of weights holds: tensors by their names there, and what lies beside them."""

    tensors: dict[str, Tensor]
    beside: Mapping[str, Any]


def read_tensors(path: Path) -> Stored:
    """Read a file of weights: safetensors, `torch.save`'s, or a pickle of NumPy arrays.

    Floating-point tensors become fp32. Raises ValueError with the file and the mend where it is
    damaged, hostile, or no weights at all.
    """
    tensors, beside = _read_document(path)
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return Stored(tensors, beside)


def read_hub_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face model folder, from one file or the several its index names."""
    for name in HUB_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read_tensors(folder / name).tensors
        if index.is_file():
            return _read_shards(index)
    raise ValueError(f"{folder} has none of {' and '.join(HUB_FILES)}; fetch the whole folder")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """All tensors of the files that an index names, which lie beside it."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise ValueError(f"{index} has no weight_map of tensors to files; fetch it again")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        if Path(name).name != name:
            raise ValueError(f"{index} names '{name}', which does not lie beside it")
        tensors |= read_tensors(index.parent / name).tensors
    lacking = sorted(names.keys() - tensors.keys())
    if lacking:
        raise ValueError(
            f"{index} promises {len(lacking)} more tensors, such as {excerpt(lacking[0])}"
        )
    return tensors


def _read_document(path: Path) -> Stored:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if not head:
        raise ValueError(f"{path} is empty; fetch it again")
    if _is_safetensors(head, path.stat().st_size):
        return _read_safetensors(path)
    for start, fault in NO_WEIGHTS.items():
        if head.startswith(start):
            raise ValueError(f"{path} {fault}")
    if head.startswith(ZIP):
        _refuse_packed(path)
        return _find_tensors(load_torch(path), path)
    if head.startswith(PICKLE):
        is_torch = head[2:].startswith(OLD_TORCH)
        return _find_tensors(load_torch(path) if is_torch else load_pickle(path), path)
    return _read_safetensors(path)  # which says what is wrong


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a JSON header and the header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size


def _read_safetensors(path: Path) -> Stored:
    try:
        return Stored(load_file(path), {})
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from None


def _refuse_packed(path: Path) -> None:
    """Refuse an archive that would grow when unpacked, as `torch.save`'s never does."""
    try:
        with zipfile.ZipFile(path) as archive:
            grown = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ValueError(f"{path} is cut or damaged ({error}); fetch it again") from None
    if grown > path.stat().st_size:
        raise ValueError(f"{path} would grow to {grown:,} bytes; `torch.save` writes no such file")


def _find_tensors(document: Any, path: Path) -> Stored:
    """The state of a network in what a training program saved, with or without a wrapping."""
    state, beside = document, {}
    if isinstance(document, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(document.get(key), Mapping):
                state, beside = document[key], {k: v for k, v in document.items() if k != key}
                break
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(document).__name__}, and no tensors by name")
    found = {str(name): value for name, value in state.items() if _is_plain(value)}
    if not found:
        raise ValueError(f"{path} holds no tensors by name")
    _refuse_claims(found.values(), path)
    tensors = {name: _as_tensor(value, name, path) for name, value in found.items()}
    return Stored(tensors, beside)


def _refuse_claims(found: Iterable[Array | Tensor], path: Path) -> None:
    """Refuse, before any memory is spent, a few bytes under names without number."""
    claimed = sum(value.nbytes for value in found)
    if claimed > TIES * path.stat().st_size:
        raise ValueError(
            f"{path} claims {claimed:,} bytes of weights, far more than the file has: damaged or "
            "hostile, it was not used"
        )


def _as_tensor(value: Array | Tensor, name: str, path: Path) -> Tensor:
    try:
        return torch.from_numpy(value.values) if isinstance(value, Array) else value.detach()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {excerpt(name)} is damaged ({error})") from None


def _is_plain(value: Any) -> bool:
    """Whether something is what networks are made of, and no tensor of torch's other kinds."""
    return isinstance(value, Array) or (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )
