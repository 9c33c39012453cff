"""The augmentations: picture and ids stay together, sizes and draws are the recipes'."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former.data import Shapes, large_scale_jitter, resize_and_crop, resize_only
from mask2former.data.dataset import as_sample
from mask2former.data.transforms import (
    PADDING,
    Crop,
    RandomTranspose,
    Recolor,
    Resize,
    Transform,
    compact,
    fit_inside,
    on_diagonal,
    shorten,
)
from mask2former.structures import Sample


def painted(height: int = 60, width: int = 90, frames: int = 1) -> Sample:
    """Six blocks; the red of a pixel is 40 times its id, green and blue are zero."""
    rows, columns = np.mgrid[:height, :width]
    ids = (1 + rows * 2 // height * 3 + columns * 3 // width).astype(np.int32)
    ids = np.repeat(ids[None], frames, axis=0)
    image = np.zeros((*ids.shape, 3), np.uint8)
    image[..., 0] = ids * 40
    return as_sample(image, ids[None], np.arange(6) * 11, "painted")


PIPELINES: dict[str, Transform] = {
    "large scale jitter": large_scale_jitter(64),
    "large scale jitter, turns": large_scale_jitter((64, 96), flips="turns"),
    "resize and crop": resize_and_crop([30, 60, 120], 200, (48, 64), flips="both"),
    "resize": resize_only((64, 96)),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("frames", [1, 2])
def test_picture_and_ids_stay_aligned(name: str, frames: int) -> None:
    torch.manual_seed(0)
    for _ in range(10):
        sample = PIPELINES[name](painted(frames=frames))
        ids, red = sample["ids"][0], sample["image"][:, 0].float()
        original = torch.cat([torch.zeros(1), sample["labels"] / 11 + 1])  # id -> id as painted
        inside = ids > 0
        assert inside.any()
        distance = (red - 40 * original[ids.long()])[inside].abs()
        assert (distance < 1).float().mean() > 0.5  # all but blurred borders
        assert distance.mean() < 15
        assert (red[~inside] == PADDING).all()


@pytest.mark.parametrize("name", PIPELINES)
def test_ids_are_numbered_without_gaps(name: str) -> None:
    torch.manual_seed(1)
    for _ in range(10):
        sample = PIPELINES[name](painted())
        present = sample["ids"].unique()
        assert present[present > 0].tolist() == list(range(1, sample["labels"].shape[0] + 1))


def test_padding_is_grey_and_nobody() -> None:
    sample = resize_only((64, 96))(painted(60, 60))
    assert sample["image"].shape == (1, 3, 64, 96)
    assert (sample["image"][..., 64:] == PADDING).all()
    assert not sample["ids"][..., 64:].any()
    assert (sample["ids"][..., :64] > 0).all()


def test_jitter_gives_one_size_at_every_scale() -> None:
    torch.manual_seed(0)
    transform = large_scale_jitter(64, scale=(0.1, 2.0))
    assert {transform(painted(45, 70))["image"].shape for _ in range(20)} == {(1, 3, 64, 64)}


def test_clip_without_crop_keeps_its_shape() -> None:
    sample = resize_and_crop([36], 1333, None)(painted(frames=3))
    assert sample["image"].shape == (3, 3, 36, 54)


def test_sizes_round_as_detectron2() -> None:
    assert shorten((480, 640), 800, 1333) == (800, 1067)
    assert shorten((1024, 2048), 800, 1333) == (667, 1333)
    assert shorten((638, 319), 800, 1333) == (1333, 666)  # in two steps; 666.5 in one
    assert fit_inside((480, 640), (1024, 1024), 0.5) == (384, 512)
    assert fit_inside((1, 1000), (64, 64), 0.1) == (1, 6)


@pytest.mark.parametrize("size", [(23, 40), (131, 77)])
def test_resizing_agrees_with_pillow(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, 50, 61, 3), np.uint8)
    ids = random.integers(0, 9, (1, 1, 50, 61), np.int32)
    sample = Resize(lambda _: size)(as_sample(image, ids, np.arange(8), "noise"))
    shape = size[::-1]
    expected = Image.fromarray(image[0]).resize(shape, Image.Resampling.BILINEAR)
    nearest = Image.fromarray(ids[0, 0]).resize(shape, Image.Resampling.NEAREST)
    difference = sample["image"][0].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
    assert abs(difference).max() <= 1
    assert (sample["ids"][0, 0].numpy() == np.asarray(nearest)).all()


def test_jitter_crops_at_one_fraction_of_both_sides() -> None:
    torch.manual_seed(0)
    corners = [on_diagonal(100, 200) for _ in range(20)]
    assert all(abs(left - 2 * top) <= 1 for top, left in corners)
    assert len(set(corners)) > 10


def test_crop_is_no_larger_than_the_picture() -> None:
    sample = Crop((80, 30), on_diagonal)(painted())
    assert sample["image"].shape[-2:] == sample["ids"].shape[-2:] == (60, 30)


def test_turns_reach_all_eight_positions() -> None:
    torch.manual_seed(0)
    transform = large_scale_jitter(32, scale=(1, 1), flips="turns")
    corners = {
        tuple(transform(painted(32, 32))["image"][0, 0, [0, 0, 31, 31], [0, 31, 0, 31]].tolist())
        for _ in range(100)
    }
    assert len(corners) == 8


def test_transpose_swaps_picture_and_ids() -> None:
    torch.manual_seed(0)
    shapes = {tuple(RandomTranspose()(painted())["ids"].shape[-2:]) for _ in range(10)}
    assert shapes == {(60, 90), (90, 60)}


def test_unknown_flips_are_refused() -> None:
    with pytest.raises(ValueError, match="not 'diagonal'"):
        large_scale_jitter(32, flips="diagonal")  # pyrefly: ignore[bad-argument-type]


def test_compact_drops_ids_and_layers_without_pixels() -> None:
    ids = np.zeros((3, 1, 2, 3), np.int32)
    ids[0, 0, 0] = (4, 0, 2)
    ids[2, 0, 1] = (0, 4, 5)
    sample = compact(as_sample(np.zeros((1, 2, 3, 3), np.uint8), ids, [9, 8, 7, 6, 5, 4], "x"))
    assert sample["labels"].tolist() == [8, 6, 5]
    assert sample["ids"].tolist() == [[[[2, 0, 1], [0, 0, 0]]], [[[0, 0, 0], [0, 2, 3]]]]


def test_compact_keeps_one_layer_of_nothing() -> None:
    ids = np.zeros((2, 1, 2, 3), np.int32)
    sample = compact(as_sample(np.zeros((1, 2, 3, 3), np.uint8), ids, [1], "x"))
    assert sample["ids"].shape == (1, 1, 2, 3)
    assert sample["labels"].shape == (0,)


def test_recolor_changes_colours_only() -> None:
    before = Shapes(1).sample(0)
    after = Recolor(lambda pixels: 255 - pixels)(before)
    assert (after["image"] == 255 - before["image"]).all()
    assert (after["ids"] == before["ids"]).all()
    assert (after["labels"] == before["labels"]).all()


def test_recolor_leaves_other_pictures() -> None:
    deep = as_sample(np.full((1, 4, 4, 3), 900, np.uint16), np.zeros((1, 1, 4, 4), int), [], "x")
    many = as_sample(np.zeros((1, 4, 4, 5), np.uint8), np.zeros((1, 1, 4, 4), int), [], "x")
    for sample in (deep, many):
        assert Recolor(lambda pixels: pixels + 1)(sample) is sample


@pytest.mark.parametrize("name", PIPELINES)
def test_draws_follow_the_global_seed_also_after_pickling(name: str) -> None:
    copy = pickle.loads(pickle.dumps(PIPELINES[name]))
    results = []
    for transform in (PIPELINES[name], copy):
        torch.manual_seed(7)
        results.append(transform(painted()))
    assert (results[0]["image"] == results[1]["image"]).all()
    assert (results[0]["ids"] == results[1]["ids"]).all()
