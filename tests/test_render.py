from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.captions import LEGEND_ROWS, Entry, draw_legend, font_for, write_names
from mask2former.categories import Categories, Category
from mask2former.render import _flatten, _region_colors, overlay, side_by_side
from mask2former.structures import IGNORE, Instances, Panoptic, Result, Segment, SemanticMap

CATEGORIES = Categories(
    [
        Category(1, "cat", (200, 30, 30)),
        Category(2, "dog", (30, 30, 200)),
        Category(3, "grass-merged", (30, 200, 30), is_thing=False),
    ]
)


def instances(masks: np.ndarray, scores: list[float] | None = None) -> Instances:
    """Masks (N, T, H, W) of cats as a result."""
    count = masks.shape[0]
    sure = np.array(scores or [0.9] * count, np.float32)
    return Instances.of_masks(masks, np.zeros(count, np.int64), sure)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 60, np.uint8)


def test_overlay_of_semantic_map_tints_classes_and_leaves_ignored_pixels() -> None:
    labels = np.full((1, 700, 700), IGNORE, np.int16)
    labels[0, :, 350:] = 0
    picture = np.asarray(overlay(grey(700, 700), SemanticMap(labels), CATEGORIES))
    assert picture[50, 50].tolist() == [60, 60, 60]
    red, green, blue = picture[50, 650].tolist()
    assert red > 100 > max(green, blue)
    assert picture.shape[0] > 700, "the legend has to be below"


def test_overlay_of_small_image_is_enlarged_by_a_whole_number() -> None:
    result = SemanticMap(np.zeros((1, 100, 120), np.int16))
    assert overlay(grey(100, 120), result, CATEGORIES).width == 720


def test_overlay_of_panoptic_map_outlines_things() -> None:
    ids = np.full((1, 700, 700), 70_000, np.int32)
    ids[0, 300:600, 300:600] = 5
    segments = [Segment(70_000, 2, 0.9, 0, False), Segment(5, 1, 0.8, 0, True)]
    picture = np.asarray(overlay(grey(700, 700), Panoptic(ids, segments), CATEGORIES))
    assert picture[305:595, 300].min() > 180, "light outline inside the thing"
    assert picture[320, 320].argmax() == 2
    assert picture[100, 600].argmax() == 1


def test_overlay_of_wrong_image_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="the image it was made from"):
        overlay(grey(9, 10), SemanticMap(np.zeros((1, 10, 10), np.int16)), CATEGORIES)


@pytest.mark.parametrize(
    "empty",
    [
        SemanticMap(np.full((1, 64, 64), IGNORE, np.int16)),
        Panoptic(np.zeros((1, 64, 64), np.int32), []),
        instances(np.zeros((0, 1, 64, 64), bool)),
        instances(np.zeros((2, 1, 64, 64), bool)),
    ],
    ids=["semantic", "panoptic", "instances", "empty masks"],
)
def test_overlay_of_empty_result_shows_the_image(empty: Result) -> None:
    picture = np.asarray(overlay(grey(64, 64), empty, CATEGORIES))
    assert (picture[:640] == 60).all()
    assert (picture[640:] > 100).any(), "the legend says that nothing was found"


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_flatten_of_instances_agrees_with_masks_in_every_frame(frame: int) -> None:
    masks = np.random.default_rng(frame).random((6, 3, 5, 7)) > 0.7  # 35 pixels: no whole bytes
    ids, _ = _flatten(instances(masks), frame)
    assert ((ids > 0) == masks[:, frame].any(axis=0)).all()
    for index in range(6):
        assert masks[index, frame][ids == index + 1].all()


def test_flatten_of_overlapping_instances_keeps_the_small_on_top() -> None:
    masks = np.zeros((2, 1, 16, 16), bool)
    masks[0, 0, 4:6, 4:6] = True
    masks[1, 0, :12, :12] = True
    ids, _ = _flatten(instances(masks), 0)
    assert (ids[4:6, 4:6] == 1).all()
    assert (ids == 2).sum() == 12 * 12 - 4


def test_region_colors_of_neighbours_differ() -> None:
    masks = np.zeros((64, 1, 80, 80), bool)
    for index in range(64):
        row, column = 10 * (index // 8), 10 * (index % 8)
        masks[index, 0, row : row + 9, column : column + 9] = True
    colors = _region_colors(*_flatten(instances(masks), 0), CATEGORIES)
    table = np.array(colors, int).reshape(8, 8, 3)
    assert np.abs(np.diff(table, axis=0)).sum(axis=-1).min() > 40
    assert np.abs(np.diff(table, axis=1)).sum(axis=-1).min() > 40


def test_write_names_never_overlaps_them() -> None:
    ids = np.repeat(np.repeat(np.arange(1, 17).reshape(4, 4), 160, axis=0), 200, axis=1)
    picture = Image.new("RGB", (800, 640), (255, 255, 255))
    named = write_names(picture, ids, ["a very long name of a class"] * 16, np.ones(16, bool))
    plates = np.asarray(named)[..., 0] < 200
    tiles = plates.reshape(4, 160, 800).any(axis=(1, 2))
    assert tiles.all(), "every row of regions has room for a name"
    # a plate is translucent: where two lay over each other the white would be darker than one
    once = 255 - round((255 - 22) * 190 / 255)
    assert np.asarray(named)[..., 0].min() >= once - 3


def test_legend_that_is_too_long_ends_with_a_remark() -> None:
    entries = [Entry(f"class number {i}", "3", [(200, 0, 0)]) for i in range(60)]
    font = font_for((640, 480))
    strip = draw_legend(entries, 640, font)
    assert strip.height < (LEGEND_ROWS + 1) * 2 * font.size
    assert draw_legend(entries[:1], 640, font).height < strip.height


def test_side_by_side_puts_titles_above_pictures() -> None:
    white, small = Image.new("RGB", (300, 200), "white"), Image.new("RGB", (80, 90), "white")
    row = side_by_side([white, small], ["truth", "a title that is far too long for its picture"])
    assert row.height > 200
    assert row.width > 380
    assert row.getpixel((150, row.height - 5)) == (255, 255, 255)


def test_overlay_of_400_objects_takes_less_than_a_second() -> None:
    masks = np.zeros((400, 1, 1000, 1000), bool)
    for index in range(400):
        row, column = 50 * (index // 20), 50 * (index % 20)
        masks[index, 0, row : row + 40, column : column + 45] = True
    result = instances(masks)
    start = time.process_time()
    overlay(grey(1000, 1000), result, CATEGORIES)
    assert time.process_time() - start < 1


def test_overlay_of_real_panoptic_truth_has_a_legend(shared_data: Path) -> None:
    folder = shared_data / "coco_panoptic"
    truth = json.loads((folder / "panoptic_val.json").read_text())
    categories = Categories.bundled("coco_panoptic")
    annotation = truth["annotations"][0]
    colors = np.asarray(Image.open(folder / "panoptic_val" / annotation["file_name"]), np.int32)
    segments = [
        Segment(s["id"], label, 1.0, s["area"], categories[label].is_thing)
        for s in annotation["segments_info"]
        for label in [categories.label_of[s["category_id"]]]
    ]
    name = Path(annotation["file_name"]).with_suffix(".jpg")
    image = np.asarray(Image.open(folder / "images" / "val" / name).convert("RGB"))
    picture = overlay(image, Panoptic((colors @ [1, 256, 65536])[None], segments), categories)
    assert picture.height > image.shape[0]


@pytest.mark.parametrize(
    ("name", "count", "things"),
    [
        ("coco_panoptic", 133, 80),
        ("coco_instance", 80, 80),
        ("cityscapes_panoptic", 19, 8),
        ("cityscapes_semantic", 19, 8),
        ("cityscapes_instance", 8, 8),
        ("ade20k_semantic", 150, 100),
        ("ade20k_panoptic", 150, 100),
        ("ade20k_instance", 100, 100),
        ("mapillary_vistas", 65, 37),
        ("youtubevis_2019", 40, 40),
        ("youtubevis_2021", 40, 40),
    ],
)
def test_bundled_categories_have_the_published_numbers(name: str, count: int, things: int) -> None:
    categories = Categories.bundled(name)
    assert len(categories) == len(set(categories.names)) == count
    assert sum(categories.is_thing) == things


def test_objects_of_a_clip_keep_their_colors_wherever_they_go() -> None:
    masks = np.zeros((3, 2, 40, 60), bool)
    for index, columns in enumerate(((0, 40), (20, 0), (40, 20))):  # they change places
        for frame, left in enumerate(columns):
            masks[index, frame, :30, left : left + 18] = True
    image = np.full((40, 60, 3), 90, np.uint8)
    drawn = [np.asarray(overlay(image, instances(masks), CATEGORIES, frame)) for frame in (0, 1)]
    scale = drawn[0].shape[1] // 60
    for columns in ((0, 40), (20, 0), (40, 20)):
        # near the lower edge of the object, where no name is written
        here = [
            frame[26 * scale, (left + 3) * scale]
            for frame, left in zip(drawn, columns, strict=True)
        ]
        assert np.array_equal(*here)
