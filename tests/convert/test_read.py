"""Files that are no weights, or not whole, are told from each other."""

from __future__ import annotations

import json
import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mask2former.convert.read import read_hub_tensors, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}


@pytest.fixture(params=["safetensors", "pth", "old pth", "pkl"])
def path(request, tmp_path):
    file = tmp_path / f"model.{request.param.split()[-1]}"
    match request.param:
        case "safetensors":
            save_file(TENSORS, file)
        case "pth":
            torch.save({"model": TENSORS}, file)
        case "old pth":
            torch.save({"model": TENSORS}, file, _use_new_zipfile_serialization=False)
        case "pkl":
            arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
            file.write_bytes(pickle.dumps({"model": arrays}))
    return file


def test_every_kind_is_told_by_its_content(path):
    nameless = path.rename(path.with_name("weights"))
    read = read_tensors(nameless).tensors
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in read)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_cut_file_is_one_sentence_with_its_name(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(share * len(content)))])
    with pytest.raises(ValueError) as fault:
        read_tensors(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    assert len(str(fault.value)) < 500


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"hello, this is no model of anything at all", "no safetensors file"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"model": {"a": 1}}), "holds no tensors"),
        (b"PK\x03\x04" + b"\0" * 100, "cut or damaged"),
    ],
    ids=["empty", "lfs", "html", "text", "list", "numbers", "zip"],
)
def test_what_is_no_weights_is_named(tmp_path, content, sentence):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as fault:
        read_tensors(path)
    assert str(path) in str(fault.value)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.pkl cannot be read"):
        read_tensors(tmp_path / "absent.pkl")
    with pytest.raises(ValueError, match="cannot be read"):
        read_tensors(tmp_path)


def write_index(folder, weight_map, name="model.safetensors"):
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_joined(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "model-00002-of-00002.safetensors")
    shards = {n: f"model-0000{i}-of-00002.safetensors" for i, n in ((1, "a"), (2, "b"))}
    write_index(tmp_path, shards)
    assert read_hub_tensors(tmp_path).keys() == {"a", "b"}
    write_index(tmp_path, shards | {"c": shards["a"]})
    with pytest.raises(ValueError, match="promises 1 more tensors, such as 'c'"):
        read_hub_tensors(tmp_path)
    (tmp_path / shards["b"]).unlink()
    with pytest.raises(ValueError, match=r"00002-of-00002\.safetensors cannot be read"):
        read_hub_tensors(tmp_path)


def test_index_leads_out_of_no_folder(tmp_path):
    write_index(tmp_path, {"a": "../secret.safetensors"})
    with pytest.raises(ValueError, match="does not lie beside it"):
        read_hub_tensors(tmp_path)


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none of model\.safetensors and pytorch_model\.bin"):
        read_hub_tensors(tmp_path)


@pytest.mark.parametrize("kind", ["pth", "pkl"])
def test_tied_tensors_are_read_under_both_names(tmp_path, kind):
    path = tmp_path / f"model.{kind}"
    tensor = torch.arange(30_000.0)
    if kind == "pth":
        torch.save({"a": tensor, "b": tensor}, path)
    else:
        array = tensor.numpy()
        path.write_bytes(pickle.dumps({"model": {"a": array, "b": array}}))
    read = read_tensors(path).tensors
    assert torch.equal(read["a"], tensor)
    assert torch.equal(read["b"], tensor)


def test_integers_stay(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": np.array(3), "b": np.array([1.0])}))
    read = read_tensors(path).tensors
    assert read["a"].dtype == torch.int64
    assert read["b"].dtype == torch.float32


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Change, drop or repeat a few bytes, more often near the front."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 8])):
        place = draw.randrange(min(len(changed), draw.choice([50, 400, len(changed)])))
        match draw.choice(["change", "drop", "repeat"]):
            case "change":
                changed[place] = draw.randrange(256)
            case "drop":
                del changed[place : place + draw.randrange(1, 20)]
            case "repeat":
                start = draw.randrange(len(changed))
                changed[place:place] = changed[start : start + 8]
    return bytes(changed)


def test_mutated_file_is_read_or_refused_in_one_sentence(path):
    content = path.read_bytes()
    draw = random.Random(0)
    for _ in range(100):
        path.write_bytes(mutate(content, draw))
        try:
            read_tensors(path)
        except ValueError as fault:
            assert str(path) in str(fault)
            assert len(str(fault)) < 500


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.ones(3, dtype=torch.complex64),
    ],
    ids=["sparse", "meta", "complex"],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_tensors_of_other_kinds_are_not_taken(tmp_path, tensor):
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": tensor, "b": torch.ones(2)}}, path)
    assert read_tensors(path).tensors.keys() == {"b"}
