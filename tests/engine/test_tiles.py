"""Large pictures in tiles: a perfect network's objects come back whole, a real one's agree."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

import mask2former
from mask2former.cli import app
from mask2former.config import Task
from mask2former.data import Shapes
from mask2former.engine.predict import Predictor
from mask2former.engine.predict_files import Session
from mask2former.engine.tiles import Tiling, segment_tiles
from mask2former.postprocess.seams import lay_windows
from mask2former.results import InstanceResult
from mask2former.structures import Instances, Panoptic, Result, Segment, SemanticMap

IS_THING = (True, True, False, False)
SIZE = (330, 470)
TILING = Tiling.of(128, 32)


def scene(seed: int) -> np.ndarray:
    """A picture that says the truth: object and label of every pixel, as its first two channels."""
    random = np.random.default_rng(seed)
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[..., 1] = np.where(np.arange(SIZE[1]) < 200, 2, 3)  # two kinds of stuff
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    number = 0
    for _ in range(300):
        radius = random.uniform(3, 14) if number > 2 else 90 * (1 - 0.3 * number)
        row, column = random.uniform(0, SIZE)
        shape = np.hypot((y - row) * random.uniform(0.5, 2), x - column) < radius
        if shape.any() and not ndimage.binary_dilation(shape)[picture[..., 0] > 0].any():
            number += 1
            picture[shape, 0], picture[shape, 1] = number, number % 2
    assert number > 30
    return picture


class Oracle:
    """Reads the truth off the picture; `blur` makes its masks differ from tile to tile."""

    def __init__(self, blur: int = 0) -> None:
        self.blur = blur
        self.calls = 0

    def segment(self, image: np.ndarray, task: Task, threshold: float | None) -> Result:
        self.calls += 1
        ids, labels = image[..., 0].astype(np.int32), image[..., 1]
        shown = np.unique(ids[ids > 0]).tolist()
        masks = np.array([ids == number for number in shown], bool).reshape(-1, *ids.shape)
        kinds = np.array([labels[mask][0] for mask in masks], np.int64)
        match task:
            case "semantic":
                return SemanticMap(labels[None].astype(np.int16))
            case "instance":
                if self.blur and self.calls % 2:
                    masks = np.array([ndimage.binary_dilation(mask) for mask in masks]).reshape(
                        masks.shape
                    )
                scores = np.linspace(0.9, 0.6, len(shown), dtype=np.float32)
                return Instances.of_masks(masks[:, None], kinds, scores)
            case "panoptic":
                stuff = np.unique(labels[ids == 0]).tolist()
                segments = [
                    Segment(n, int(k), 0.9, int(m.sum()), True)
                    for n, k, m in zip(shown, kinds, masks, strict=True)
                ]
                for label in stuff:
                    ids[(image[..., 0] == 0) & (labels == label)] = 250 + label
                    segments.append(Segment(250 + label, label, 0.8, 1, False))
                return Panoptic(ids[None], segments)


def tiled(picture: np.ndarray, task: Task, oracle: Oracle | None = None) -> Result:
    return segment_tiles(oracle or Oracle(), picture, task, None, tiling=TILING, is_thing=IS_THING)


@pytest.mark.parametrize("seed", range(5))
def test_perfect_instances_are_the_true_objects(seed: int) -> None:
    picture = scene(seed)
    result = tiled(picture, "instance")
    assert isinstance(result, Instances)
    seen = []
    for mask, label in zip(result.masks[:, 0], result.labels, strict=True):
        (number,) = np.unique(picture[mask, 0])
        np.testing.assert_array_equal(mask, picture[..., 0] == number)
        assert label == number % 2
        seen.append(number)
    assert sorted(seen) == np.unique(picture[..., 0])[1:].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_objects_stay_one_where_tiles_see_them_a_pixel_larger(seed: int) -> None:
    picture = scene(seed)
    result = tiled(picture, "instance", Oracle(blur=1))
    assert isinstance(result, Instances)
    objects = [np.bincount(picture[mask, 0])[1:].argmax() + 1 for mask in result.masks[:, 0]]
    assert sorted(objects) == np.unique(picture[..., 0])[1:].tolist()


def test_perfect_panoptic_map_is_the_true_one() -> None:
    picture = scene(0)
    result = tiled(picture, "panoptic")
    assert isinstance(result, Panoptic)
    label_of = np.array([-1, *(segment.label for segment in result.segments)])
    np.testing.assert_array_equal(label_of[result.ids[0]], picture[..., 1])
    assert [s.id for s in result.segments] == list(range(1, len(result.segments) + 1))
    for segment in result.segments:
        region = result.ids[0] == segment.id
        assert segment.area == region.sum()
        assert segment.score == pytest.approx(0.9 if segment.is_thing else 0.8)
        assert segment.is_thing == IS_THING[segment.label]
        assert np.unique(picture[region, 0]).size == 1
    things = [segment for segment in result.segments if segment.is_thing]
    assert len(things) == picture[..., 0].max()
    assert len(result.segments) == len(things) + 2


def test_perfect_semantic_map_is_the_true_one() -> None:
    picture = scene(0)
    result = tiled(picture, "semantic")
    assert isinstance(result, SemanticMap)
    np.testing.assert_array_equal(result.labels[0], picture[..., 1])


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_picture_that_is_one_tile_is_segmented_as_ever(predictor: Predictor, task: Task) -> None:
    picture = Shapes(1, (64, 64)).image(0)
    every = None if task == "semantic" else 0.0
    whole, tile = predictor(picture, task), predictor.tiled(picture, task, every, tile=64)
    if isinstance(whole, InstanceResult) and isinstance(tile, InstanceResult):
        shown = np.array([mask.any() for mask in whole.masks])
        np.testing.assert_array_equal(tile.masks, whole.masks[shown])
        np.testing.assert_array_equal(tile.scores, whole.scores[shown])
    else:
        np.testing.assert_array_equal(tile.draw(), whole.draw())


def test_narrow_picture_is_seen_at_the_scale_of_a_tile(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    look = Predictor.look
    monkeypatch.setattr(
        Predictor, "look", lambda self, image, size: seen.append(size) or look(self, image, size)
    )
    predictor.tiled(np.zeros((40, 300, 3), np.uint8), "semantic", tile=128)
    assert set(seen) == {(20, 64)}  # 128 pixels are shown as 64
    seen.clear()
    predictor.tiled(np.zeros((300, 300, 3), np.uint8), "semantic", tile=128)
    assert set(seen) == {(64, 64)}


@pytest.mark.parametrize(
    ("side", "overlap", "sentence"),
    [(32, None, "show too little"), (128, 100, "take 8 to 64"), (128, 0, "cannot overlap by 0")],
)
def test_tiles_that_cannot_work_are_refused(side: int, overlap: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Tiling.of(side, overlap)


def test_folder_run_has_one_large_picture_in_memory_at_a_time(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_so_far: list[weakref.ref] = []
    alive = []

    def read(self: Predictor, path: Path) -> np.ndarray:
        gc.collect()
        alive.append(sum(picture() is not None for picture in read_so_far))
        pixels = np.zeros((150, 150, 3), np.uint8)
        read_so_far.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(Predictor, "read", read)
    for number in range(4):
        Image.new("RGB", (150, 150)).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.iterdir())
    session = Session(
        predictor, "panoptic", tmp_path / "out", say=lambda _: None, tiling=Tiling.of(100, 20)
    )
    session.run(files)
    assert session.done == 4
    assert alive == [0, 0, 0, 0]  # when the next is read, the last is gone


def test_command_joins_tiles(tmp_path: Path) -> None:
    picture = Path(mask2former.__file__).parent / "demo" / "cells" / "fluorescence_256x256.png"
    output = tmp_path / "out"
    call = ["predict", str(picture), "--model", "nuclei", "--tile", "200", "--output", str(output)]
    result = CliRunner().invoke(
        app, [*call, "--overlap", "64", "--save", "coco", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    objects = json.loads((output / "coco.json").read_text())["annotations"]
    whole = mask2former.load("nuclei", device="cpu")(picture, threshold=0.8)
    assert 0.7 * len(whole) < len(objects) < 1.3 * len(whole)


@pytest.mark.slow
def test_real_nuclei_inside_a_core_are_those_of_the_tile_alone(shared_data: Path) -> None:
    files = sorted((shared_data / "nuclei" / "images" / "val").iterdir())
    pictures = [np.asarray(Image.open(file).convert("RGB"))[:256, :256] for file in files]
    dark = [picture for picture in pictures if picture.mean() < 60 and picture.shape[1] == 256]
    picture = np.concatenate([np.concatenate(dark[k : k + 3], axis=1) for k in (0, 3)])
    predictor = mask2former.load("nuclei", device="cpu")
    result = predictor.tiled(picture, tile=512, overlap=64)
    assert isinstance(result, InstanceResult)
    found = [mask for mask in result.masks if mask.any()]
    for window in lay_windows(picture.shape[:2], 512, 64):
        alone = predictor(picture[window.box], threshold=0.8)
        assert isinstance(alone, InstanceResult)
        core = np.zeros(alone.image.shape[:2], bool)
        core[window.core_inside()] = True
        # Two that the network itself takes for one object become one where windows overlap.
        once = np.sum(alone.masks, axis=0) == 1
        inside = [mask for mask in alone.masks if mask.any() and (core & once)[mask].all()]
        assert len(inside) > 20
        kept = 0
        for mask in inside:
            whole = np.zeros(picture.shape[:2], bool)
            whole[window.box] = mask
            kept += any(np.array_equal(whole, other) for other in found)
        # The other window may see an object otherwise where the two overlap.
        assert kept >= 0.95 * len(inside)
    in_both = [mask for mask in found if mask[:, 256:512].any()]
    assert len(in_both) > 20
    for mask in in_both:
        shared = [(mask & other).sum() / (mask | other).sum() for other in found]
        assert sum(share > 0.5 for share in shared) == 1  # itself
