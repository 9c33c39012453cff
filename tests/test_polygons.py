"""Outlines of masks: whoever fills them gets the mask back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline

from mask2former import rle
from mask2former.polygons import Ring, area, joined, outlines

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def fill(rings: list[Ring], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in an odd number of rings."""
    height, width = size
    centres = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) + 0.5
    inside = np.zeros(height * width, bool)
    for ring in rings:
        inside ^= Outline(np.concatenate([ring, ring[:1]])).contains_points(centres.reshape(-1, 2))
    return inside.reshape(size)


@given(MASKS)
def test_filled_outlines_are_the_mask(mask: np.ndarray) -> None:
    parts = outlines(mask)
    assert np.array_equal(fill([ring for part in parts for ring in part], mask.shape), mask)


@given(MASKS)
def test_outer_rings_turn_left_and_holes_right(mask: np.ndarray) -> None:
    parts = outlines(mask)
    sizes = [area(outer) for outer, *_ in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size > 0 for size in sizes)
    assert all(area(hole) < 0 for _, *holes in parts for hole in holes)


@given(MASKS)
def test_rings_hold_no_point_too_many(mask: np.ndarray) -> None:
    for ring in (ring for part in outlines(mask) for ring in part):
        steps = np.roll(ring, -1, axis=0) - ring
        turns = steps[:, 0] * np.roll(steps[:, 1], -1) - steps[:, 1] * np.roll(steps[:, 0], -1)
        assert (turns != 0).all()
        assert len(ring) >= 4


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), bool)) == []


def test_border_of_the_picture_is_reached() -> None:
    [[ring]] = outlines(np.ones((3, 5), bool))
    assert ring.min(axis=0).tolist() == [0, 0]
    assert ring.max(axis=0).tolist() == [5, 3]


def discs(*centres: tuple[int, int]) -> np.ndarray:
    """Discs of radius 20 in a picture of 120 x 160."""
    y, x = np.mgrid[:120, :160]
    return np.any([np.hypot(y - row, x - column) < 20 for row, column in centres], axis=0)


@pytest.mark.parametrize(
    "centres", [[(30, 30)], [(30, 30), (90, 120)], [(25, 25), (60, 80), (95, 30)]]
)
def test_joined_parts_are_one_polygon(centres: list[tuple[int, int]]) -> None:
    mask = discs(*centres)
    parts = [outer for outer, *_ in outlines(mask)]
    assert len(parts) == len(centres)
    found = rle.decode(rle.from_annotation(joined(parts).ravel().tolist(), *mask.shape))
    assert (found & mask).sum() / (found | mask).sum() >= 0.99
