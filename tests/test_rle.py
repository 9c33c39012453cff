import json

import numpy as np
import pytest
from pycocotools import mask as oracle

from mask2former import rle


def rectangle(height, width, rows, columns):
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = True
    return mask


def blobs(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, size=2)
    mask = rng.random((height, width)) < rng.choice([0, 0.1, 0.5, 0.9, 1])
    mask[:, : rng.integers(0, width + 1)] &= rng.random() < 0.5
    return mask


EDGES = {
    "empty": rectangle(7, 5, slice(0), slice(0)),
    "full": rectangle(7, 5, slice(None), slice(None)),
    "first pixel": rectangle(7, 5, 0, 0),
    "last pixel": rectangle(7, 5, -1, -1),
    "last column": rectangle(7, 5, slice(None), -1),
    "inside": rectangle(7, 5, slice(2, 4), slice(1, 3)),
    "one pixel": np.ones((1, 1), dtype=bool),
}


@pytest.mark.parametrize("mask", [*EDGES.values(), *map(blobs, range(40))])
def test_encode_gives_the_bytes_of_pycocotools(mask):
    expected = oracle.encode(np.asfortranarray(mask, dtype=np.uint8))
    encoded = rle.encode(mask)
    assert encoded == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    assert np.array_equal(rle.decode(encoded), mask)
    assert rle.decode(encoded).dtype == bool
    assert rle.area(encoded) == mask.sum()
    assert rle.box(encoded) == tuple(oracle.toBbox(expected))


def test_encode_takes_a_mask_in_any_memory_layout():
    mask = blobs(3)
    assert rle.encode(mask.T) == rle.encode(np.ascontiguousarray(mask.T))
    assert rle.encode(mask[::2, ::-1]) == rle.encode(mask[::2, ::-1].copy())


def test_encode_clip_lays_the_frames_side_by_side():
    clip = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    assert rle.encode_clip(clip) == rle.encode(np.concatenate(list(clip), axis=1))
    assert np.array_equal(rle.side_by_side(clip)[:, 5:10], clip[1])


def test_from_annotation_reads_every_form_alike():
    mask = EDGES["inside"]
    plain = [9, 2, 5, 2, 17]
    encoded = rle.encode(mask)
    text = encoded["counts"]
    polygon = [1, 2, 3, 2, 3, 4, 1, 4]
    for segmentation in (
        {"size": [7, 5], "counts": plain},
        {"size": [7, 5], "counts": text},
        {"size": (7, 5), "counts": text.encode()},
        polygon,
        [polygon],
        [[float(number) for number in polygon], polygon],
    ):
        assert rle.from_annotation(segmentation, 7, 5) == encoded


@pytest.mark.parametrize(
    ("segmentation", "complaint"),
    [
        (None, "neither a list of polygons"),
        ([], "neither a list of polygons"),
        ([[]], "neither a list of polygons"),
        ("0 1 2", "neither a list of polygons"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "neither a list of polygons"),
        ([1, 2, 3, 4, 5, "6"], "neither a list of polygons"),
        ({"counts": "345"}, "size"),
        ({"size": [7, 5]}, "counts"),
        ({"size": [5, 7], "counts": [35]}, r"\[7, 5\]"),
        ({"size": [7, 5], "counts": [3, 4]}, "add up to 7 x 5"),
        ({"size": [7, 5], "counts": [40, -5]}, "add up to 7 x 5"),
        ({"size": [7, 5], "counts": None}, "broken counts"),
        ({"size": [7, 5], "counts": ["x"]}, "broken counts"),
        ({"size": [7, 5], "counts": "zzzz??"}, "broken counts"),
        ({"size": [7, 5], "counts": "!"}, "broken counts"),
    ],
)
def test_from_annotation_refuses_anything_else(segmentation, complaint):
    with pytest.raises(ValueError, match=complaint):
        rle.from_annotation(segmentation, 7, 5)


def test_from_annotation_agrees_with_pycocotools_on_coco(shared_data):
    content = json.loads((shared_data / "coco_instances/instances_dev.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        size = sizes[annotation["image_id"]]
        segmentation = annotation["segmentation"]
        expected = oracle.frPyObjects(segmentation, *size)
        if isinstance(segmentation, list):
            expected = oracle.merge(expected)
        encoded = rle.from_annotation(segmentation, *size)
        assert encoded["counts"].encode() == expected["counts"]
        assert rle.encode(rle.decode(encoded)) == encoded


@pytest.mark.parametrize(("top", "left"), [(0, 0), (2, 3), (4, 6)])
def test_part_is_encoded_as_the_whole_picture(top: int, left: int) -> None:
    part = np.random.default_rng(top).random((3, 4)) > 0.4
    whole = np.zeros((7, 10), bool)
    whole[top : top + 3, left : left + 4] = part
    assert rle.encode_part(part, top, left, 7, 10) == rle.encode(whole)


def test_overlaps_and_shares_are_those_of_the_pixels() -> None:
    masks = np.random.default_rng(0).random((5, 9, 11)) > 0.5
    first, second = [[rle.encode(mask) for mask in some] for some in (masks[:2], masks[2:])]
    shared = (masks[:2, None] & masks[2:]).sum(axis=(2, 3))
    either = (masks[:2, None] | masks[2:]).sum(axis=(2, 3))
    np.testing.assert_allclose(rle.overlaps(first, second), shared / either)
    np.testing.assert_allclose(rle.shares(first, second), shared / masks[2:].sum(axis=(1, 2)))
    assert rle.overlaps([], second).shape == (0, 3)
    assert rle.shares(first, []).shape == (2, 0)
