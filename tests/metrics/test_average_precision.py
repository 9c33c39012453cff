import copy
import json
import math
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former import rle
from mask2former.categories import Categories
from mask2former.metrics import AveragePrecision, for_task
from mask2former.metrics.average_precision import CLIP_SIDES
from mask2former.structures import Instances, TrueInstance, Truth

TWO = Categories.from_json([{"id": 4, "name": "nucleus"}, {"id": 8, "name": "cell"}])
BACKENDS = ["hotcoco", "pycocotools"]


def instances(masks, labels, scores, size):
    """Masks (H, W) or (T, H, W) of one picture, sorted best first."""
    order = np.argsort(-np.asarray(scores, dtype=np.float32), kind="stable")
    pixels = np.array([masks[i] for i in order], dtype=bool).reshape(len(order), *size)
    labels = np.array([labels[i] for i in order], dtype=np.int64)
    return Instances.of_masks(pixels, labels, np.array(scores, dtype=np.float32)[order])


def by_pycocotools(pairs, categories, max_detections=100):
    """COCO's own arrays; written without a look at the metric: dataset ids, results as files."""
    images, truth, results = [], [], []
    for number, (predicted, true) in enumerate(pairs, start=1):
        images.append({"id": number, "height": true.size[0], "width": true.size[1]})
        for t in true.instances:
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": number,
                    "category_id": categories[t.label].id,
                    "segmentation": t.rle,
                    "area": t.area,
                    "iscrowd": int(t.is_crowd),
                }
            )
        for mask, label, score in zip(
            predicted.masks, predicted.labels, predicted.scores, strict=True
        ):
            results.append(
                {
                    "image_id": number,
                    "category_id": categories[label].id,
                    "segmentation": coco_mask.encode(np.asfortranarray(mask[0], dtype=np.uint8)),
                    "score": float(score),
                }
            )
    reference = COCO()
    kinds = [{"id": c.id, "name": c.name} for c in categories if c.is_thing]
    reference.dataset = {"images": images, "annotations": truth, "categories": kinds, "info": {}}
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes(results), "segm")
    evaluation.params.maxDets = [1, 10, max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = tuple(evaluation.eval[name] for name in ("precision", "recall", "scores"))
    evaluation.summarize()
    return arrays, evaluation.stats


def measure(pairs, categories, max_detections=100, **options):
    metric = AveragePrecision(categories, max_detections, **options)
    for pair in pairs:
        metric.update(*pair)
    return metric


def assert_bit_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype == np.float64
        assert np.array_equal(ours, theirs)


def perturbed(rng, true, labels, copies):
    """Shifted, dropped, relabelled and doubled masks, an empty one, and many equal scores."""
    masks, guesses = [np.zeros(true.size, dtype=bool)], [int(rng.choice(labels))]
    for t in true.instances:
        mask = rle.decode(t.rle)
        for _ in range(rng.integers(0, copies + 1)):
            masks.append(np.roll(mask, rng.integers(-4, 5, size=2), axis=(0, 1)))
            guesses.append(t.label if rng.random() < 0.8 else int(rng.choice(labels)))
    scores = rng.random(len(masks))
    scores = np.where(rng.random(len(masks)) < 0.5, scores.round(1), scores)
    return instances(masks, guesses, scores, (1, *true.size))


def random_truth(rng, classes):
    height, width = rng.integers(20, 140, size=2)
    found = []
    for _ in range(rng.integers(0, 5)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask = np.zeros((height, width), dtype=bool)
        mask[top : top + rng.integers(1, 120), left : left + rng.integers(1, 120)] = True
        area = float(mask.sum()) * rng.choice([1, 1, 0.9])
        found.append(
            TrueInstance(rle.encode(mask), int(rng.integers(classes)), area, rng.random() < 0.2)
        )
    return Truth((int(height), int(width)), instances=found)


def random_pairs(seed):
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, len(TWO)) for _ in range(4)]
    return [(perturbed(rng, true, [0, 1], 3), true) for true in truths]


@pytest.fixture
def coco_pairs(shared_data):
    content = json.loads((shared_data / "coco_instances/instances_dev.json").read_text())
    categories = Categories.from_json(content["categories"])
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    images = [i for number, i in enumerate(content["images"]) if number < 20 or i["id"] in crowded]
    truths = {i["id"]: Truth((i["height"], i["width"]), instances=[]) for i in images}
    for annotation in content["annotations"]:
        if annotation["image_id"] in truths:
            true = truths[annotation["image_id"]]
            true.instances.append(
                TrueInstance(
                    rle.from_annotation(annotation["segmentation"], *true.size),
                    categories.label_of[annotation["category_id"]],
                    annotation["area"],
                    bool(annotation["iscrowd"]),
                )
            )
    rng = np.random.default_rng(1)
    labels = sorted({t.label for true in truths.values() for t in true.instances})
    return categories, [(perturbed(rng, true, labels, 3), true) for true in truths.values()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_is_bit_equal_to_pycocotools_on_coco(coco_pairs, backend):
    categories, pairs = coco_pairs
    expected, stats = by_pycocotools(pairs, categories)
    metric = measure(pairs, categories, backend=backend)
    assert_bit_equal(metric.arrays(), expected)
    found = metric.compute()
    assert list(found) == ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR"]
    assert list(found.values()) == pytest.approx([*stats[:6], stats[8]], abs=1e-12)
    assert 0.1 < found["AP"] < 0.9
    rows = metric.per_class()
    assert [row["name"] for row in rows] == categories.names
    assert np.nanmean([row["AP"] for row in rows]) == pytest.approx(found["AP"], abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_average_precision_is_bit_equal_to_pycocotools_on_random_sets(seed):
    pairs = random_pairs(seed)
    expected, _ = by_pycocotools(pairs, TWO)
    assert_bit_equal(measure(pairs, TWO).arrays(), expected)
    shards = [measure(pairs[rank::2], TWO, shard=(rank, 2)) for rank in (0, 1)]
    shards[0].merge(shards[1])
    assert_bit_equal(shards[0].arrays(), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_can_go_on_after_it_was_asked(backend):
    pairs = random_pairs(1)
    metric = measure(pairs[:2], TWO, backend=backend)
    metric.compute()
    for copied in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric):
        for pair in pairs[2:]:
            copied.update(*pair)
        assert_bit_equal(copied.arrays(), by_pycocotools(pairs, TWO)[0])


def test_average_precision_merges_shards_of_the_fallback_alike():
    pairs = random_pairs(2)
    shards = [
        measure(pairs[rank::3], TWO, backend="pycocotools", shard=(rank, 3)) for rank in range(3)
    ]
    for other in shards[1:]:
        shards[0].merge(other)
    assert_bit_equal(shards[0].arrays(), by_pycocotools(pairs, TWO)[0])


def crowded_picture():
    """170 small objects; each found, in an order that makes the number of detections matter."""
    rng = np.random.default_rng(0)
    masks = []
    for cell in range(170):
        mask = np.zeros((130, 170), dtype=bool)
        top, left = 10 * (cell // 17), 10 * (cell % 17)
        mask[top : top + 8, left : left + 8] = True
        masks.append(mask)
    truth = [TrueInstance(rle.encode(mask), i % 2, 64.0, False) for i, mask in enumerate(masks)]
    guesses = [np.roll(mask, rng.integers(-1, 2), axis=0) for mask in masks] + masks[:50]
    labels = [i % 2 if rng.random() < 0.95 else 0 for i in range(220)]
    predicted = instances(guesses, labels, rng.random(220).round(2), (1, 130, 170))
    return [(predicted, Truth((130, 170), instances=truth))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_counts_more_than_100_detections(backend):
    pairs = crowded_picture()
    expected, _ = by_pycocotools(pairs, TWO, 200)
    metric = measure(pairs, TWO, 200, backend=backend)
    assert_bit_equal(metric.arrays(), expected)
    precision, recall, _ = expected
    found = metric.compute()
    assert found["AP"] == pytest.approx(precision[:, :, :, 0, 2].mean(), abs=1e-12)
    assert found["AR"] == pytest.approx(recall[:, :, 0, 2].mean(), abs=1e-12)
    assert "at most 200" in metric.protocol
    at_50 = measure(pairs, TWO, 50, backend=backend)
    assert at_50.compute()["AR"] < found["AR"]
    assert_bit_equal(at_50.arrays(), by_pycocotools(pairs, TWO, 50)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_takes_fewer_than_ten_detections(backend):
    metric = measure(crowded_picture(), TWO, 5, backend=backend)
    assert metric.arrays()[0].shape[-1] == 2
    assert 0 < metric.compute()["AR"] <= 5 / 85


def square(side=20, at=5):
    mask = np.zeros((50, 60), dtype=bool)
    mask[at : at + side, at : at + side] = True
    return mask


def annotated(*masks, label=0, is_crowd=False):
    found = [TrueInstance(rle.encode(m), label, float(m.sum()), is_crowd) for m in masks]
    return Truth((50, 60), instances=found)


NOTHING = instances([], [], [], (1, 50, 60))
ONE = instances([square()], [0], [0.7], (1, 50, 60))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], math.nan),
        ([(NOTHING, annotated())], math.nan),
        ([(ONE, annotated())], math.nan),
        ([(ONE, annotated(square(), is_crowd=True))], math.nan),
        ([(NOTHING, annotated(square()))], 0),
        ([(ONE, annotated(square(), label=1))], 0),
        ([(ONE, annotated(square()))], 1),
        ([(ONE, annotated(square())), (NOTHING, annotated())], 1),
        ([(NOTHING, annotated()), (ONE, annotated(square()))], 1),
    ],
)
def test_average_precision_of_degenerate_sets(pairs, expected, backend):
    metric = measure(pairs, TWO, backend=backend)
    found = metric.compute()
    assert found["AP"] == pytest.approx(expected, nan_ok=True)
    assert found["AR"] == pytest.approx(expected, nan_ok=True)
    assert found["AP_small"] == pytest.approx(expected, nan_ok=True)
    assert math.isnan(found["AP_large"])
    assert len(metric.per_class()) == 2


def test_average_precision_counts_things_only():
    mixed = Categories.from_json(
        [{"id": 1, "name": "sky", "isthing": 0}, {"id": 2, "name": "bird", "isthing": 1}]
    )
    both = instances([square(), square(30)], [0, 1], [0.9, 0.8], (1, 50, 60))
    truth = Truth(
        (50, 60),
        instances=[*annotated(square(30), label=1).instances, *annotated(square()).instances],
    )
    metric = for_task("instance", mixed, 50)
    metric.update(both, truth)
    assert metric.arrays()[0].shape[2] == 1
    (row,) = metric.per_class()
    assert row == {"name": "bird", "AP": pytest.approx(1), "AP50": pytest.approx(1), "AR": 1}
    stuff = Categories.from_json([{"id": 1, "name": "sky", "isthing": 0}])
    with pytest.raises(ValueError, match="every category is stuff"):
        AveragePrecision(stuff)


def clip(*frames):
    return np.stack([frame if frame is not None else np.zeros((50, 60), bool) for frame in frames])


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_of_clips_counts_over_space_and_time(backend):
    true = clip(square(20), square(20, 10), None)
    found = clip(square(20), square(20, 10), square(14))  # IoU 800 / 996
    stacked = rle.encode_clip(true)
    truth = Truth((50, 180), instances=[TrueInstance(stacked, 0, 400.0, False)])
    predicted = instances([found], [0], [0.9], (3, 50, 60))
    metric = measure([(predicted, truth)], TWO, backend=backend, sides=CLIP_SIDES)
    assert metric.compute()["AP"] == pytest.approx(0.7)  # of the thresholds 0.50 to 0.80
    assert metric.compute()["AP_small"] == pytest.approx(0.7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_average_precision_sorts_clips_by_their_mean_area_in_the_frames_they_fill(backend):
    # 3 x 3 in two of four frames is 9 pixels a frame: small below 4 x 4, though 18 in all are not.
    lost = clip(square(3, 40), square(3, 40), None, None)
    truth = Truth(
        (50, 240),
        instances=[TrueInstance(rle.encode_clip(clip(square(), *[None] * 3)), 0, 9.0, False)],
    )
    right = clip(square(), None, None, None)
    predicted = instances([lost, right], [0, 0], [0.9, 0.5], (4, 50, 60))
    metric = measure([(predicted, truth)], TWO, backend=backend, sides=(4, 30))
    # The wrong small mask comes first and counts in the range of small objects.
    assert metric.compute()["AP_small"] == pytest.approx(0.5)


def test_average_precision_refuses_what_it_cannot_measure():
    metric = AveragePrecision(TWO)
    with pytest.raises(ValueError, match="annotated instances"):
        metric.update(ONE, Truth((50, 60)))
    with pytest.raises(ValueError, match="NaN"):
        metric.update(instances([square()], [0], [math.nan], (1, 50, 60)), annotated())
    turned = Truth((60, 50), instances=[TrueInstance(rle.encode(square().T), 0, 400.0, False)])
    with pytest.raises(ValueError, match=r"\[50, 60\], a true one \[60, 50\]"):
        metric.update(ONE, turned)
