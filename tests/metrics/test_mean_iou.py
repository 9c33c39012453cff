import math

import numpy as np
import pytest

from mask2former.categories import Categories
from mask2former.metrics import MeanIoU, for_task
from mask2former.structures import IGNORE, SemanticMap, Truth


def categories(count):
    return Categories.from_json([{"id": 10 + i, "name": f"class {i}"} for i in range(count)])


def prediction(labels):
    return SemanticMap(np.asarray(labels, dtype=np.int16)[None])


def truth(labels):
    labels = np.asarray(labels, dtype=np.int16)
    return Truth(labels.shape, semantic=labels)


def by_pixel_sets(pairs, classes):
    """detectron2's figures from sets of pixels."""
    true, predicted = [set() for _ in range(classes)], [set() for _ in range(classes)]
    for picture, (predicted_map, true_map) in enumerate(pairs):
        for place, label in np.ndenumerate(true_map):
            if label != IGNORE:
                true[label].add((picture, *place))
                if predicted_map[place] != IGNORE:
                    predicted[predicted_map[place]].add((picture, *place))
    present = [c for c in range(classes) if true[c]]
    hits = {c: len(true[c] & predicted[c]) for c in present}
    iou = {c: hits[c] / len(true[c] | predicted[c]) for c in present}
    total = sum(len(true[c]) for c in present)
    return {
        "mIoU": sum(iou.values()) / len(present),
        "fwIoU": sum(iou[c] * len(true[c]) / total for c in present),
        "mACC": sum(hits[c] / len(true[c]) for c in present) / len(present),
        "pACC": sum(hits.values()) / total,
    }


@pytest.mark.parametrize("seed", range(10))
def test_mean_iou_equals_a_count_of_pixel_sets(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 7))
    pairs = []
    for _ in range(3):
        # The last class is never true: it must not enter the mean.
        true = rng.integers(IGNORE, max(classes - 1, 1), size=(9, 11))
        noise = rng.integers(0, classes, size=true.shape)
        predicted = np.where((rng.random(true.shape) < 0.4) | (true == IGNORE), noise, true)
        predicted[rng.random(true.shape) < 0.05] = IGNORE
        pairs.append((predicted, true))
    metric = for_task("semantic", categories(classes))
    for predicted, true in pairs:
        metric.update(prediction(predicted), truth(true))
    expected = by_pixel_sets(pairs, classes)
    assert list(metric.compute()) == list(expected)
    assert metric.compute() == pytest.approx(expected, abs=1e-12)
    rows = [row["IoU"] for row in metric.per_class()]
    assert np.nanmean(rows) == pytest.approx(expected["mIoU"], abs=1e-12)


def test_mean_iou_of_many_classes_does_not_overflow():
    labels = np.arange(900).reshape(30, 30)
    metric = MeanIoU(categories(900))
    metric.update(prediction(labels), truth(labels))
    assert metric.compute()["mIoU"] == 1


def test_mean_iou_of_a_clip_is_that_of_its_frames():
    labels = np.random.default_rng(0).integers(0, 3, size=(2, 4, 5)).astype(np.int16)
    true = np.random.default_rng(1).integers(0, 3, size=(2, 4, 5)).astype(np.int16)
    clip, frames = MeanIoU(categories(3)), MeanIoU(categories(3))
    clip.update(SemanticMap(labels), truth(np.concatenate(list(true), axis=1)))
    for frame, true_frame in zip(labels, true, strict=True):
        frames.update(prediction(frame), truth(true_frame))
    assert clip.compute() == frames.compute()


def test_mean_iou_merges_shards():
    rng = np.random.default_rng(5)
    whole, shards = MeanIoU(categories(4)), [MeanIoU(categories(4)) for _ in range(2)]
    for picture in range(5):
        pair = prediction(rng.integers(0, 4, (6, 6))), truth(rng.integers(-1, 4, (6, 6)))
        whole.update(*pair)
        shards[picture % 2].update(*pair)
    shards[0].merge(shards[1])
    assert shards[0].compute() == whole.compute()
    assert shards[0].protocol == whole.protocol


def test_mean_iou_without_a_true_pixel_is_nan():
    metric = MeanIoU(categories(2))
    assert all(math.isnan(value) for value in metric.compute().values())
    metric.update(prediction(np.zeros((2, 2))), truth(np.full((2, 2), IGNORE)))
    assert all(math.isnan(value) for value in metric.compute().values())
    assert [row["name"] for row in metric.per_class()] == ["class 0", "class 1"]
    assert math.isnan(metric.per_class()[0]["IoU"])


def test_mean_iou_refuses_maps_that_do_not_fit():
    metric = MeanIoU(categories(2))
    with pytest.raises(ValueError, match="original size"):
        metric.update(prediction(np.zeros((2, 3))), truth(np.zeros((3, 2))))
    with pytest.raises(ValueError, match="label map as ground truth"):
        metric.update(prediction(np.zeros((2, 3))), Truth((2, 3)))
    with pytest.raises(ValueError, match=r"true label map holds 0\.\.255"):
        metric.update(prediction(np.zeros((1, 2))), truth([[0, 255]]))
    with pytest.raises(ValueError, match=r"predicted label map holds 0\.\.2"):
        metric.update(prediction([[0, 2]]), truth([[0, 1]]))


def test_for_task_names_the_tasks_it_knows():
    with pytest.raises(ValueError, match="semantic, instance, panoptic"):
        for_task("depth", categories(2))
