"""Confusions: against counting by hand, and what must hold whatever is predicted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask2former import rle
from mask2former.categories import Categories
from mask2former.metrics import Confusion, Inspection
from mask2former.metrics.confusion import confuse
from mask2former.structures import (
    Instances,
    Panoptic,
    Segment,
    SemanticMap,
    TrueInstance,
    TrueSegment,
    Truth,
)

NAMES = ("cat", "dog", "sky")
CATEGORIES = Categories.from_json(
    [{"id": i, "name": name, "isthing": int(i < 2)} for i, name in enumerate(NAMES)]
)
SIZE = (12, 40)


def block(left: int, right: int, top: int = 0, bottom: int = 12) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def true(mask: np.ndarray, label: int, *, is_crowd: bool = False) -> TrueInstance:
    return TrueInstance(rle.encode(mask), label, float(mask.sum()), is_crowd)


def found(*objects: tuple[np.ndarray, int, float]) -> Instances:
    masks = np.array([mask for mask, *_ in objects], bool).reshape(-1, 1, *SIZE)
    labels = np.array([label for _, label, _ in objects], np.int64)
    return Instances.of_masks(masks, labels, np.array([s for *_, s in objects], np.float32))


def test_objects_are_right_confused_missed_and_invented() -> None:
    truth = Truth(
        SIZE,
        instances=[
            true(block(0, 8), 0),
            true(block(10, 18), 0),
            true(block(20, 24), 1),
            true(block(30, 40), 1, is_crowd=True),  # of dogs
        ],
    )
    result = found(
        (block(0, 7), 0, 0.9),  # right
        (block(11, 18), 1, 0.8),  # a dog for a cat
        (block(24, 28), 1, 0.7),  # nothing is there
        (block(31, 35), 1, 0.6),  # in the crowd of its class: forgiven, as in the metrics
        (block(35, 39), 0, 0.5),  # a cat in a crowd of dogs
    )
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[0, 1] = expected[1, 3] = expected[3, 1] = expected[3, 0] = 1
    assert np.array_equal(confuse(result, truth, 3), expected)


def test_of_two_likely_matches_the_own_class_comes_first() -> None:
    truth = Truth(SIZE, instances=[true(block(0, 10), 0)])
    result = found((block(0, 10), 1, 0.9), (block(0, 8), 0, 0.8))
    counts = confuse(result, truth, 3)
    assert counts[0, 0] == 1
    assert counts[3, 1] == 1  # the exact one of the wrong class is left over
    assert counts.sum() == 2


def test_detections_in_void_are_forgiven() -> None:
    void = block(20, 40)
    result = found((block(22, 30), 0, 0.9), (block(0, 5), 0, 0.9))
    counts = confuse(result, Truth(SIZE, instances=[], void=void), 3)
    assert counts[3, 0] == counts.sum() == 1


@given(st.data())
def test_every_object_is_counted_once(data: st.DataObject) -> None:
    edges = st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(0, 2))
    truths = data.draw(st.lists(edges, max_size=5))
    guesses = data.draw(st.lists(edges, max_size=6))
    truth = Truth(SIZE, instances=[true(block(a, a + n), c) for a, n, c in truths])
    result = found(*((block(a, a + n), c, 0.5) for a, n, c in guesses))
    counts = confuse(result, truth, 3)
    assert counts[:3].sum(axis=1).tolist() == [sum(c == k for *_, c in truths) for k in range(3)]
    assert counts[:, :3].sum(axis=0).tolist() == [
        sum(c == k for *_, c in guesses) for k in range(3)
    ]
    assert counts[3, 3] == 0
    again = confuse(result.select(np.arange(len(guesses))[::-1]), truth, 3)
    assert again.trace() == counts.trace()


def test_segments_of_a_panoptic_map() -> None:
    ids = np.zeros(SIZE, np.int32)
    for number, (left, right) in enumerate(((0, 10), (10, 20), (20, 30), (30, 36)), start=1):
        ids[:, left:right] = number
    segments = [
        TrueSegment(n, label, int((ids == n).sum()), n == 4)
        for n, label in ((1, 0), (2, 1), (3, 2), (4, 0))
    ]
    guess = np.zeros(SIZE, np.int32)
    guess[:, :9], guess[:, 9:19], guess[:, 24:27], guess[:, 30:40] = 1, 2, 3, 4
    labels = {1: 0, 2: 2, 3: 2, 4: 0}  # right; sky for a dog; too small; in crowd and void
    result = Panoptic(
        guess[None],
        [Segment(n, c, 0.9, int((guess == n).sum()), c < 2) for n, c in labels.items()],
    )
    counts = confuse(result, Truth(SIZE, panoptic=ids, segments=segments), 3)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 2] = expected[2, 3] = expected[3, 2] = 1
    assert np.array_equal(counts, expected)
    result.segments[3] = Segment(4, 1, 0.9, int((guess == 4).sum()), True)  # a dog among cats
    expected[3, 1] = 1
    counts = confuse(result, Truth(SIZE, panoptic=ids, segments=segments), 3)
    assert np.array_equal(counts, expected)


def test_pixels_of_a_semantic_map_against_a_loop() -> None:
    draw = np.random.default_rng(0)
    truth, guess = (draw.integers(-1, 3, SIZE).astype(np.int16) for _ in range(2))
    expected = np.zeros((4, 4), int)
    for row, column in zip(truth.ravel(), guess.ravel(), strict=True):
        if row >= 0:
            expected[row, column if column >= 0 else 3] += 1
    assert np.array_equal(
        confuse(SemanticMap(guess[None]), Truth(SIZE, semantic=truth), 3), expected
    )


def test_merged_parts_are_the_whole() -> None:
    truth = Truth(SIZE, instances=[true(block(0, 8), 0)])
    results = [found((block(0, 7), 0, 0.9)), found((block(20, 27), 1, 0.9))]
    whole, parts = Confusion(CATEGORIES), [Confusion(CATEGORIES) for _ in results]
    for result, part in zip(results, parts, strict=True):
        whole.update(result, truth)
        part.update(result, truth)
    parts[0].merge(parts[1])
    assert np.array_equal(parts[0].counts, whole.counts)
    assert whole.counts.sum() == 3


@pytest.fixture
def inspection() -> Inspection:
    """Three pictures of cats: all found; one of two, and one invented; nothing to be found."""
    seen = Inspection(CATEGORIES, threshold=0.5)
    two = [true(block(0, 8), 0), true(block(10, 18), 0)]
    sure, unsure = (block(0, 8), 0, 0.9), (block(10, 18), 0, 0.4)
    seen.update(4, found(sure, (block(10, 18), 0, 0.5)), Truth(SIZE, instances=two))
    seen.update(2, found(sure, unsure, (block(30, 35), 0, 0.9)), Truth(SIZE, instances=two))
    seen.update(7, found(unsure), Truth(SIZE, instances=[]))
    return seen


def test_pictures_are_scored_by_what_a_person_would_see(inspection: Inspection) -> None:
    figures = {picture.index: picture for picture in inspection.pictures}
    assert figures[4].score == 1
    assert figures[2].score == 0.5
    assert np.isnan(figures[7].score)
    assert [picture.index for picture in inspection.worst(5)] == [2, 4]
    assert [picture.index for picture in inspection.worst(1)] == [2]


def test_objects_are_counted(inspection: Inspection) -> None:
    inspection.update(9, found((block(0, 8), 0, 0.9)), Truth(SIZE, instances=[]))
    counting = inspection.counting()
    assert counting is not None
    assert (counting.true, counting.found) == (4, 5)
    assert counting.mean_error == counting.mean_absolute_error == 0.25
    assert counting.relative_error == 0.25


def test_stuff_and_pixels_are_not_counted() -> None:
    seen = Inspection(CATEGORIES, threshold=0.5)
    labels = np.zeros(SIZE, np.int16)
    seen.update(0, SemanticMap(labels[None]), Truth(SIZE, semantic=labels))
    assert seen.counting() is None
    assert seen.pictures[0].score == 1
    ids = np.ones(SIZE, np.int32)
    sky = Panoptic(ids[None], [Segment(1, 2, 0.9, ids.size, False)])
    seen.update(1, sky, Truth(SIZE, panoptic=ids, segments=[TrueSegment(1, 2, ids.size, False)]))
    assert seen.pictures[1].score == 1
    assert seen.counting() is None


def test_merged_inspections_are_in_the_order_of_the_data(inspection: Inspection) -> None:
    other = Inspection(CATEGORIES, threshold=0.5)
    other.update(3, found(), Truth(SIZE, instances=[true(block(0, 8), 0)]))
    inspection.merge(other)
    assert [picture.index for picture in inspection.pictures] == [2, 3, 4, 7]
    assert inspection.worst(1)[0].index == 3
