"""A model of four channels of 16 bits: trained, resumed, started from RGB, asked and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from mask2former.build import build_model, build_splits
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_card, save_model
from mask2former.config import Config
from mask2former.engine.evaluate import evaluate
from mask2former.engine.predict import Predictor, load
from mask2former.engine.start import settle_channels, take_over_weights
from mask2former.engine.train import train
from mask2former.rasters import as_picture

SIZE = 64
CPU = torch.device("cpu")


def write_fields(root: Path, count: int) -> None:
    """Fields that look alike in RGB; what grows there shows in the near infrared alone."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        rgb = random.normal(8000, 500, (SIZE, SIZE, 3))
        labels = np.zeros((SIZE, SIZE), np.uint8)
        for label, column in ((1, 4), (2, 34)) if number % 2 else ((2, 4), (1, 34)):
            top, side = random.integers(4, 20), random.integers(20, 26)
            labels[top : top + side, column : column + side] = label
        rgb[labels > 0] += 12000  # a field is seen in RGB, but not which
        nir = random.normal(3000, 300, (SIZE, SIZE)) + np.choose(labels, [0, 2000, 30000])
        pixels = np.dstack([rgb, nir]).clip(0, 65535).astype(np.uint16)
        tifffile.imwrite(
            root / "images" / f"{number}.tif",
            pixels,
            photometric="minisblack",
            planarconfig="contig",
        )
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")
    classes = [{"id": i, "name": name} for i, name in enumerate(("soil", "stubble", "crop"))]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fields")
    write_fields(root, 10)
    return root


@pytest.fixture
def settings(tiny: Callable[..., Config], fields: Path) -> Callable[..., Config]:
    paths = [
        f"data.{s}.{k}" for s in ("train", "val") for k in ("images=images", "annotations=labels")
    ]
    return lambda *more: tiny(
        "data.format=label_maps",
        f"data.root={fields}",
        *paths,
        "data.classes=classes.json",
        "data.channels=4",
        "data.fold=null",
        "test.task=semantic",
        "data.first=null",
        *more,
    )


def test_training_uses_the_fourth_channel(
    settings: Callable[..., Config], tmp_path: Path, undrawn: None
) -> None:
    config = settings(
        "train.steps=250",
        "train.batch_size=4",
        "train.log_every=50",
        "train.save_every=250",
        "model.backbone.norm=trainable",
        "train.evaluate_every=250",
        "train.learning_rate=2e-3",
    )
    said: list[str] = []
    run = train(config, tmp_path / "run", device=CPU, say=said.append)
    assert any(line.startswith("mean of each channel, measured: [") for line in said)
    predictor = load(run, "cpu")
    assert len(predictor.card.config.model.mean) == 4
    assert predictor.card.config.model.mean[0] > 7000
    dataset = build_splits(predictor.card.config.data, "semantic")[1]
    seeing = evaluate(predictor, dataset, "semantic").summary["mIoU"]
    blind = Predictor.segment
    predictor.segment = (
        lambda image, *more: blind(  # type: ignore[method-assign]
            predictor, np.dstack([image[..., :3], np.full_like(image[..., 0], 5000)]), *more
        )
    )
    guessing = evaluate(predictor, dataset, "semantic").summary["mIoU"]
    assert seeing > 0.8
    assert guessing < seeing - 0.2


def test_mean_is_measured_once_and_a_resumed_run_keeps_it(
    settings: Callable[..., Config], tmp_path: Path, undrawn: None
) -> None:
    train(settings("train.steps=3"), tmp_path, device=CPU, say=lambda _: None)
    card = load_card(tmp_path)
    said: list[str] = []
    train(card.config.model_copy(), tmp_path, device=CPU, say=said.append, resume=True)
    assert load_card(tmp_path).config.model == card.config.model
    assert not any("measured" in line for line in said)


def test_value_range_keeps_the_mean_of_the_recipe(settings: Callable[..., Config]) -> None:
    config = settings("model.value_range=[0, 65535]")
    settled = settle_channels(config, build_splits(config.data, "semantic")[0], print)
    mean = config.model.mean
    assert settled.model.mean == pytest.approx((*mean, sum(mean) / 3))
    network = build_model(settled.model, 3)
    np.testing.assert_allclose(network.mean.ravel(), np.array(settled.model.mean) * 257, rtol=1e-6)
    assert settle_channels(settled, build_splits(config.data, "semantic")[0], print) == settled


def test_channels_beyond_rgb_must_be_asked_for(tiny: Callable[..., Config]) -> None:
    config = tiny("model.mean=[1, 2, 3, 4]", "model.std=[1, 1, 1, 1]")
    with pytest.raises(ValueError, match=r"set data\.channels=4"):
        settle_channels(config, build_splits(config.data, "panoptic")[0], print)


def test_start_from_an_rgb_model_fits_the_first_layer_and_says_so(
    tiny: Callable[..., Config], predictor: Predictor, tmp_path: Path
) -> None:
    save_model(tmp_path / "rgb", build_model(tiny().model, 4), predictor.card)
    four = build_model(tiny("model.mean=[1, 2, 3, 4]", "model.std=[1, 1, 1, 1]").model, 4)
    said: list[str] = []
    take_over_weights(
        four, predictor.categories, str(tmp_path / "rgb"), said.append, reset_head=False
    )
    assert said[0] == (
        "first layer fitted from 3 to 4 channels: the first 3 keep their filters, "
        "others have the mean"
    )
    first = next(p for p in four.backbone.parameters() if p.ndim == 4)
    torch.testing.assert_close(first[:, 3], first[:, :3].mean(1))


@pytest.fixture
def four(settings: Callable[..., Config]) -> Predictor:
    config = settings("model.mean=[8000, 8000, 8000, 9000]", "model.std=[5e3, 5e3, 5e3, 9e3]")
    categories = Categories.from_json([{"id": i, "name": n} for i, n in enumerate("abc")])
    return Predictor(build_model(config.model, 3), ModelCard(config, categories), CPU)


def test_arrays_tensors_and_files_of_four_channels_agree(four: Predictor, fields: Path) -> None:
    file = fields / "images" / "0.tif"
    pixels = tifffile.imread(file)
    forms = [
        file,
        pixels,
        pixels.astype(np.int32),
        torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1),
    ]
    first, *others = four(forms)
    assert first.image.shape == (SIZE, SIZE, 4)
    assert first.image.dtype == np.uint16
    for other in others:
        np.testing.assert_array_equal(other.labels, first.labels)


def test_drawing_shows_three_channels_stretched(four: Predictor, fields: Path) -> None:
    result = four(fields / "images" / "0.tif")
    shown = as_picture(result.image)
    assert shown.dtype == np.uint8
    assert shown.shape == (SIZE, SIZE, 3)
    assert shown.min() == 0
    assert shown.max() == 255
    assert result.draw().size[0] >= SIZE


def test_tiles_of_four_channels_are_joined(four: Predictor, fields: Path) -> None:
    pixels = np.concatenate([tifffile.imread(fields / "images" / f"{n}.tif") for n in range(3)])
    result = four.tiled(pixels, tile=64)
    assert result.labels.shape == (3 * SIZE, SIZE)


def test_pictures_of_other_channels_are_one_sentence(
    four: Predictor, predictor: Predictor, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 30)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png: has 3 channels, and 4 are wanted"):
        four(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match="the picture: has 3 channels, and 4 are wanted"):
        four(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r"an array \(H, W, 3\).*not \(20, 30, 4\)"):
        predictor(np.zeros((20, 30, 4), np.uint8))
    tifffile.imwrite(
        tmp_path / "five.tif",
        np.zeros((20, 30, 5), np.uint16),
        photometric="minisblack",
        planarconfig="contig",
    )
    with pytest.raises(ValueError, match=r"five\.tif: is not a picture of 8-bit RGB; a model"):
        predictor(tmp_path / "five.tif")
