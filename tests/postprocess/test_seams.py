"""Windows cover a picture; the pieces of an object that windows show become one object again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask2former.postprocess.seams import Window, find_pieces, join_pieces, lay_windows
from mask2former.structures import BoxedMask, Instances

SIZE = (60, 100)
WINDOWS = lay_windows(SIZE, 60, 20)  # two, columns 0..60 and 40..100; the cores meet at column 50


def found(window: Window, *objects: tuple[tuple[int, int], float, int]) -> Instances:
    """What a window finds: bars of rows 10..20 by columns of the picture, a score and a label."""
    masks = np.zeros((len(objects), 1, *SIZE), bool)
    for mask, ((left, right), _, _) in zip(masks, objects, strict=True):
        mask[0, 10:20, left:right] = True
    rows, columns = window.box
    labels = np.array([label for _, _, label in objects], np.int64)
    scores = np.array([score for _, score, _ in objects], np.float32)
    return Instances.of_masks(masks[:, :, rows, columns], labels, scores)


def join(*both: list[tuple[tuple[int, int], float, int]]) -> Instances:
    pieces = []
    for number, (window, objects) in enumerate(zip(WINDOWS, both, strict=True)):
        pieces += find_pieces(number, window, found(window, *objects), SIZE)
    return join_pieces(pieces, WINDOWS, SIZE)


def spans(joined: Instances) -> list[tuple[int, int]]:
    columns = (np.flatnonzero(mask.any((0, 1))) for mask in joined.masks)
    return [(int(place[0]), int(place[-1]) + 1) for place in columns]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 90), st.floats(0, 0.5))
def test_windows_cover_the_picture_and_their_cores_share_it_out(
    height: int, width: int, side: int, share: float
) -> None:
    overlap = int(share * side)
    windows = lay_windows((height, width), side, overlap)
    owners = np.zeros((height, width), int)
    for rows, columns in (window.core for window in windows):
        owners[rows, columns] += 1
    assert (owners == 1).all()
    for window in windows:
        for box, core, length in zip(window.box, window.core, (height, width), strict=True):
            assert box.stop - box.start == min(side, length)
            assert 0 <= box.start <= core.start < core.stop <= box.stop <= length
            # A core keeps away from the borders inside the picture by half of the overlap.
            assert box.start == 0 or core.start - box.start >= overlap // 2
            assert box.stop == length or box.stop - core.stop >= overlap // 2


def test_object_that_crosses_the_whole_band_is_one() -> None:
    joined = join([((30, 60), 0.9, 0)], [((40, 80), 0.6, 0)])
    assert spans(joined) == [(30, 80)]
    assert joined.scores[0] == pytest.approx((30 * 0.9 + 40 * 0.6) / 70)  # by area


def test_object_in_the_band_is_kept_once_as_the_window_has_it_in_whose_core_it_lies() -> None:
    joined = join([((45, 53), 0.6, 0)], [((45, 54), 0.7, 0)])
    assert spans(joined) == [(45, 53)]
    assert joined.scores[0] == pytest.approx(0.6)
    assert spans(join([((47, 54), 0.6, 0)], [((47, 55), 0.5, 0)])) == [(47, 55)]


def test_window_that_shows_an_object_whole_decides_its_mask_and_score() -> None:
    joined = join([((30, 52), 0.9, 0)], [((40, 53), 0.5, 0)])
    assert spans(joined) == [(30, 52)]
    assert joined.scores[0] == pytest.approx(0.9)


def test_neighbours_stay_apart() -> None:
    joined = join([((30, 47), 0.9, 0)], [((47, 70), 0.8, 0)])
    assert spans(joined) == [(30, 47), (47, 70)]


def test_class_of_an_object_in_the_band_is_what_its_core_says() -> None:
    assert join([((44, 54), 0.7, 0)], [((44, 54), 0.9, 1)]).labels.tolist() == [0]
    assert join([((46, 56), 0.9, 0)], [((46, 56), 0.7, 1)]).labels.tolist() == [1]


def test_sliver_at_a_border_that_the_neighbour_does_not_know_is_no_object() -> None:
    assert spans(join([], [((40, 43), 0.9, 0)])) == []
    assert spans(join([], [((70, 73), 0.9, 0)])) == [(70, 73)]


def test_small_cut_piece_inside_a_whole_object_belongs_to_it() -> None:
    assert spans(join([((25, 54), 0.9, 0)], [((40, 46), 0.8, 0)])) == [(25, 54)]


def test_cut_object_is_not_lost_to_a_small_whole_one_inside_it() -> None:
    joined = join([((30, 60), 0.9, 0)], [((41, 100), 0.8, 0)])
    assert spans(joined) == [(30, 100)]


def test_boxes_that_meet_without_a_common_pixel_join_nothing() -> None:
    """Two L-shapes whose arms reach into the band, where neither covers the other."""
    windows = lay_windows((100, 100), 60, 20)
    pieces = []
    for number, corner in ((0, np.s_[0, 10:55, 10:14]), (3, np.s_[0, 45:90, 86:90])):
        mask = np.zeros((1, 100, 100), bool)
        mask[corner] = True
        mask[(0, slice(10, 14), slice(10, 55)) if number == 0 else np.s_[0, 86:90, 45:90]] = True
        rows, columns = windows[number].box
        found = Instances.of_masks(mask[None][..., rows, columns], np.zeros(1, int), np.ones(1))
        pieces += find_pieces(number, windows[number], found, (100, 100))
    assert len(join_pieces(pieces, windows, (100, 100)).labels) == 2


def test_objects_come_best_first() -> None:
    joined = join([((5, 10), 0.2, 0), ((20, 25), 0.9, 1)], [((80, 90), 0.5, 0)])
    assert joined.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert joined.size == (1, *SIZE)


def test_nothing_found_is_no_instance() -> None:
    joined = join([], [])
    assert joined.masks.shape == (0, 1, *SIZE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_boxed_masks_are_what_they_pack(seed: int) -> None:
    random = np.random.default_rng(seed)
    masks = random.random((3, 2, 7, 9)) > random.choice([0.5, 0.95, 1.0], (3, 1, 1, 1))
    packed = Instances.of_masks(masks, np.zeros(3, int), np.ones(3))
    np.testing.assert_array_equal(packed.masks, masks)
    assert [mask.area for mask in packed.boxed] == masks.sum((1, 2, 3)).tolist()
    union = Instances([BoxedMask.union(packed.boxed)], np.zeros(1, int), np.ones(1), packed.size)
    np.testing.assert_array_equal(union.masks[0], masks.any(0))
