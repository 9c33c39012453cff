"""Exported files say what PyTorch says, at every size and batch; wrong ones do not stay."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mask2former
from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.config import parse_config
from mask2former.data import Shapes
from mask2former.engine.evaluate import evaluate
from mask2former.engine.predict import Predictor
from mask2former.export import export as exporting
from mask2former.export.files import demand_place, replacing, save_onnx
from mask2former.export.graph import make_graph, output_names, prepare
from mask2former.export.plan import make_plan
from mask2former.runtime import Passport, open_exported


@pytest.fixture(params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("size", [(64, 64), (96, 224), (160, 128)])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_exported_network_gives_pytorchs_numbers_at_other_sizes(exported, size, batch, build):
    network, _ = build()
    images = 255 * torch.rand(batch, 3, *size)
    with torch.no_grad():
        expected = network(images)[-1]
    found = mask2former.load(exported).model(images)[-1]
    torch.testing.assert_close(found.class_logits, expected.class_logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.mask_logits(), expected.mask_logits(), atol=1e-3, rtol=1e-3)


def test_exported_file_predicts_and_evaluates_as_its_model(exported, build):
    theirs = Predictor(*build(), torch.device("cpu"))
    ours = mask2former.load(exported)
    assert ours.card == theirs.card
    shapes = Shapes(3, (50, 70))
    for index in range(3):
        found, expected = (p(shapes.image(index)) for p in (ours, theirs))
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
        assert (found.masks != expected.masks).mean() < 1e-3
    reports = [evaluate(p, shapes, "instance") for p in (ours, theirs)]
    assert reports[0].summary == pytest.approx(reports[1].summary, abs=1e-3, nan_ok=True)


@pytest.fixture
def refused(exported, tmp_path, build) -> Callable[[str], Path]:
    """Exports a tiny network over an older file, and wants to be refused with a sentence."""

    def refused(sentence: str) -> Path:
        network, card = build()
        torch.nn.init.normal_(network.transformer_decoder.class_head.weight)  # not the file's
        path = tmp_path / exported.name
        (shutil.copytree if exported.is_dir() else shutil.copy)(exported, path)
        form = "onnx" if path.suffix else "openvino"
        with pytest.raises(ValueError, match=sentence):
            exporting.export(network, card, make_plan(card, form), path)
        return path

    return refused


def test_wrong_file_does_not_stay_and_the_one_before_does(exported, refused, monkeypatch):
    def copy(_: object, path: Path, *__: object) -> None:
        (shutil.copytree if exported.is_dir() else shutil.copy)(exported, path)

    monkeypatch.setattr(exporting, "convert", lambda *_: None)
    monkeypatch.setattr(exporting, "save_openvino", copy)
    monkeypatch.setattr(exporting, "save_onnx", copy)
    path = refused(r"is wrong \(256x320, batch 1: largest .* and is not kept")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    files = [path] if path.is_file() else sorted(path.iterdir())
    wanted = [exported] if exported.is_file() else sorted(exported.iterdir())
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in wanted]


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (RuntimeError("no such size"), r"does not run at 256x320, batch 1 \(no such size\)"),
        (RuntimeError(), r"does not run at 256x320, batch 1 \(RuntimeError\)"),
        (
            [np.zeros((1, 3, 4), np.float32)] * 3,
            r"is wrong \(at 256x320, batch 1, its",
        ),
    ],
)
def test_file_that_fails_or_has_other_shapes_is_refused(refused, monkeypatch, outputs, sentence):
    def run(images: np.ndarray) -> list[np.ndarray]:
        if isinstance(outputs, Exception):
            raise outputs
        return outputs

    monkeypatch.setattr(exporting, "convert", lambda *_: None)
    monkeypatch.setattr(exporting, "save_onnx", lambda *_: None)
    monkeypatch.setattr(exporting, "save_openvino", lambda *_: None)
    monkeypatch.setattr(exporting, "open_exported", lambda path: (run, None))
    refused(sentence)


def test_other_files_in_the_folder_stay(make, tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="there is something else; name a new place"):
        demand_place(path, "openvino")
    first = make("openvino", size=(64, 96))
    shutil.copytree(first, path, dirs_exist_ok=True)
    demand_place(path, "openvino")
    with replacing(path) as beside:
        shutil.copytree(first, beside)
    assert sorted(file.name for file in path.iterdir()) == ["model.bin", "model.xml", "thesis.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("form", "name", "is_folder"), [("openvino", "notes.txt", False), ("onnx", "m.onnx", True)]
)
def test_place_of_another_kind_is_refused(form, name, is_folder, tmp_path):
    path = tmp_path / name
    path.mkdir() if is_folder else path.write_text("mine")
    with pytest.raises(ValueError, match="there is something else"):
        demand_place(path, form)


@pytest.mark.parametrize("size", [(32, 96), (96, 32), (32, 32)])
def test_a_side_of_one_pixel_at_the_coarsest_level(exported, size, build):
    """Where a resized map has one row, runtimes differ in which row they read."""
    network, _ = build()
    images = 255 * torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = network(images)[-1]
    found = mask2former.load(exported).model(images)[-1]
    torch.testing.assert_close(found.class_logits, expected.class_logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.mask_logits(), expected.mask_logits(), atol=1e-3, rtol=1e-3)


def test_fixed_size_takes_pictures_of_any_shape(make: Callable[..., Path]):
    predictor = mask2former.load(make("onnx", size=(64, 96)))
    assert predictor.model(torch.zeros(3, 3, 64, 96))[-1].class_logits.shape[0] == 3
    for size in ((50, 70), (70, 50), (300, 300), (10, 200)):
        assert predictor(np.zeros((*size, 3), np.uint8)).masks.shape[1:] == size


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_video_model_follows_clips(form, make):
    path = make(form, decoder={"position": "3d"}, size=(64, 64), frames=2)
    predictor = mask2former.load(path)
    clip = np.zeros((2, 40, 40, 3), np.uint8)
    assert predictor.takes_clips
    assert predictor.clip(clip).plain.size == (2, 40, 40)
    with pytest.raises(ValueError, match="takes clips of 2 frames, not of 3"):
        predictor.clip(np.zeros((3, 40, 40, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_sampled_queries_are_as_many_as_the_picture_asks_for(form, make, build):
    path = make(form, decoder={"queries": {"spacing": 16}, "levels": [[8]], "num_queries": 100})
    network, _ = build(queries={"spacing": 16}, levels=[[8]], num_queries=100)
    images = 255 * torch.rand(1, 3, 96, 160)
    found = mask2former.load(path).model(images)[-1]
    with torch.no_grad():
        torch.testing.assert_close(
            found.class_logits, network(images)[-1].class_logits, atol=1e-3, rtol=1e-3
        )


@pytest.mark.slow
def test_swin_becomes_an_onnx_file(tmp_path: Path):
    swin = {"kind": "swin", "embed_dim": 16, "heads": [1, 2, 4, 8], "depths": [2, 2, 2, 2]}
    tree = {"dim": 16, "backbone": swin, "pixel_decoder": {"layers": 1, "heads": 2}}
    config = parse_config({"model": tree}, "a test")
    torch.manual_seed(0)
    card = ModelCard(config, Shapes(1).categories)
    network = build_model(config.model, len(card.categories)).eval()
    plan = make_plan(card, "onnx", size=(128, 160))
    passport = Passport(card, plan.outputs, plan.precision, plan.size, plan.frames, "1")
    graph = prepare(make_graph(network, card, plan), plan)
    made = exporting.convert(graph, plan, output_names(card, plan), passport)
    save_onnx(made, tmp_path / "swin.onnx")
    run, _ = open_exported(tmp_path / "swin.onnx")
    images = 255 * torch.rand(1, 3, 128, 160)
    with torch.no_grad():
        expected = network(images)[-1].class_logits
    torch.testing.assert_close(
        torch.from_numpy(run(images.numpy())[0]), expected, atol=0.02, rtol=0
    )
