import json
import math

import numpy as np
import pytest
from hotcoco.panoptic import pq_compute
from PIL import Image

from mask2former.categories import Categories
from mask2former.metrics import PanopticQuality, for_task
from mask2former.structures import Panoptic, Segment, TrueSegment, Truth

CATEGORIES = [
    {"id": 3, "name": "cell", "isthing": 1},
    {"id": 5, "name": "dirt", "isthing": 1},
    {"id": 9, "name": "glass", "isthing": 0},
    {"id": 7, "name": "water", "isthing": 0},
]


def true_segments(ids, labels, crowds=()):
    areas = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    return [TrueSegment(i, label, int(areas.get(i, 0)), i in crowds) for i, label in labels.items()]


def truth(ids, labels, crowds=()):
    ids = np.asarray(ids, dtype=np.int32)
    return Truth(ids.shape, panoptic=ids, segments=true_segments(ids, labels, crowds))


def prediction(ids, labels):
    """`labels` may name segments that were painted over: those are not predicted."""
    ids = np.asarray(ids, dtype=np.int32)
    present = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    segments = [
        Segment(i, label, 0.9, int(present[i]), True) for i, label in labels.items() if i in present
    ]
    return Panoptic(ids[None], segments)


def write(folder, name, categories, maps):
    """One side in COCO's panoptic format; `maps` holds (ids, segments) for every picture."""
    (folder / name).mkdir()
    images, annotations = [], []
    for number, (ids, segments) in enumerate(maps, start=1):
        channels = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1)
        Image.fromarray(channels.astype(np.uint8)).save(
            folder / name / f"{number}.png", compress_level=1
        )
        images.append({"id": number, "height": ids.shape[0], "width": ids.shape[1]})
        infos = [
            {
                "id": segment.id,
                "category_id": categories[segment.label].id,
                "area": segment.area,
                "iscrowd": int(getattr(segment, "is_crowd", False)),
            }
            for segment in segments
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": infos}
        )
    kinds = [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in categories]
    content = {"images": images, "annotations": annotations, "categories": kinds}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return str(path)


def from_files(folder, categories, pairs):
    """The figures of hotcoco's pq_compute, under our names."""
    true = write(folder, "true", categories, [(t.panoptic, t.segments) for _, t in pairs])
    drawn = write(folder, "drawn", categories, [(p.ids[0], p.segments) for p, _ in pairs])
    found = pq_compute(true, drawn)
    groups = {"All": "", "Things": "_things", "Stuff": "_stuff"}
    return {
        name.upper() + suffix: found[group][name]
        for group, suffix in groups.items()
        for name in ("pq", "sq", "rq")
    }


def by_pixel_sets(pairs, categories):
    """panopticapi's rules spelt out with sets of pixels."""
    iou, hits, invented, missed = ([0.0] * len(categories) for _ in range(4))
    for predicted, true in pairs:
        pixels = {
            s.id: {*zip(*np.where(true.panoptic == s.id), strict=True)} for s in true.segments
        }
        void = {*zip(*np.where(true.panoptic == 0), strict=True)}
        drawn = {
            s.id: {*zip(*np.where(predicted.ids[0] == s.id), strict=True)}
            for s in predicted.segments
        }
        taken = set()
        for t in true.segments:
            matches = [
                (len(pixels[t.id] & drawn[p.id]) / len(pixels[t.id] | (drawn[p.id] - void)), p.id)
                for p in predicted.segments
                if p.label == t.label and not t.is_crowd
            ]
            overlap, winner = max(matches, default=(0, 0))
            if overlap > 0.5:
                iou[t.label] += overlap
                hits[t.label] += 1
                taken.add(winner)
            elif not t.is_crowd:
                missed[t.label] += 1
        for p in predicted.segments:
            crowds = [pixels[t.id] for t in true.segments if t.is_crowd and t.label == p.label]
            nobody = void.union(*crowds[-1:])
            if p.id not in taken and len(drawn[p.id] & nobody) <= len(drawn[p.id]) / 2:
                invented[p.label] += 1
    weights = [h + (i + m) / 2 for h, i, m in zip(hits, invented, missed, strict=True)]
    return [
        total / weight if weight else math.nan for total, weight in zip(iou, weights, strict=True)
    ]


def random_pair(rng):
    size = rng.integers(4, 14, size=2)
    ids = rng.choice([0, *rng.integers(1, 2**24, size=5).tolist()], size=size)
    ids = np.sort(ids, axis=rng.integers(2))
    known = [int(i) for i in np.unique(ids) if i]
    labels = {i: int(rng.integers(4)) for i in known}
    crowds = {i for i in known if rng.random() < 0.25}
    drawn = np.roll(ids, rng.integers(0, 2, size=2), axis=(0, 1))
    drawn = np.where(rng.random(size) < 0.1, rng.choice([0, *known], size=size), drawn)
    guesses = {
        i: label if rng.random() < 0.7 else int(rng.integers(4)) for i, label in labels.items()
    }
    return prediction(drawn, guesses), truth(ids, labels, crowds)


@pytest.mark.parametrize("seed", range(30))
def test_panoptic_quality_equals_pixel_sets_and_hotcoco_on_random_maps(seed, tmp_path):
    rng = np.random.default_rng(seed)
    categories = Categories.from_json(CATEGORIES)
    pairs = [random_pair(rng) for _ in range(4)]
    metric = PanopticQuality(categories)
    for pair in pairs:
        metric.update(*pair)
    rows = [row["PQ"] for row in metric.per_class()]
    assert rows == pytest.approx(by_pixel_sets(pairs, categories), abs=1e-12, nan_ok=True)
    found, expected = metric.compute(), from_files(tmp_path, categories, pairs)
    for name, value in expected.items():
        members = {"things": rows[:2], "stuff": rows[2:]}.get(name.partition("_")[2], rows)
        if np.isnan(members).all():  # hotcoco says -0 where there is nothing to measure
            assert math.isnan(found[name])
        else:
            assert found[name] == pytest.approx(value, abs=1e-12), name


def perturbed(rng, ids, segments, categories):
    """Shift the map, paint some segments over, relabel others, invent a square."""
    drawn = np.roll(ids, rng.integers(-9, 10, size=2), axis=(0, 1))
    labels = {}
    for segment in segments:
        fate = rng.random()
        if fate < 0.15:
            drawn[drawn == segment.id] = 0
        labels[segment.id] = int(rng.integers(len(categories))) if fate > 0.85 else segment.label
    top, left = rng.integers(0, 300, size=2)
    invented = 2**24 - 1
    drawn[top : top + 60, left : left + 60] = invented
    return prediction(drawn, labels | {invented: int(rng.integers(len(categories)))})


def test_panoptic_quality_equals_hotcoco_on_coco(shared_data, tmp_path):
    rng = np.random.default_rng(0)
    folder = shared_data / "coco_panoptic"
    content = json.loads((folder / "panoptic_val.json").read_text())
    categories = Categories.from_json(content["categories"])
    pairs = []
    for annotation in content["annotations"]:
        image = np.asarray(Image.open(folder / "panoptic_val" / annotation["file_name"]))
        ids = image.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.int32)
        segments = [
            TrueSegment(
                info["id"],
                categories.label_of[info["category_id"]],
                info["area"],
                bool(info["iscrowd"]) or rng.random() < 0.05,
            )
            for info in annotation["segments_info"]
        ]
        true = Truth(ids.shape, panoptic=ids, segments=segments)
        pairs.append((perturbed(rng, ids, segments, categories), true))
    metric = for_task("panoptic", categories)
    shards = [PanopticQuality(categories) for _ in range(2)]
    for number, pair in enumerate(pairs):
        metric.update(*pair)
        shards[number % 2].update(*pair)
    found = metric.compute()
    assert 0.2 < found["PQ"] < 0.9
    assert next(iter(found)) == "PQ"
    assert found == pytest.approx(from_files(tmp_path, categories, pairs), abs=1e-12)
    shards[0].merge(shards[1])
    assert shards[0].compute() == pytest.approx(found, abs=1e-12)


LEFT = [[1, 1, 1, 0, 0, 0]]
RIGHT = [[0, 0, 0, 2, 2, 2]]


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        (([[0] * 6], {}), ([[0] * 6], {}), math.nan),
        (([[0] * 6], {}), (LEFT, {1: 0}), 0),
        ((LEFT, {1: 0}), (LEFT, {1: 0}), 1),
        ((LEFT, {1: 0}), (LEFT, {1: 1}), 0),
        ((LEFT, {1: 0}), ([[0] * 6], {}), math.nan),  # in void
        ((LEFT, {1: 0}), (LEFT, {1: 0}, {1}), math.nan),  # in a crowd of its class
        ((LEFT, {1: 0}), (LEFT, {1: 1}, {1}), 0),  # in a crowd of another class
        (([[0] * 6], {}), (LEFT, {1: 0}, {1}), math.nan),  # nobody need find a crowd
        (([[5, 5, 5, 5, 5, 5]], {5: 0}), (LEFT, {1: 0}), 1),  # void is taken from the union
        (([[5, 5, 0, 0, 0, 0]], {5: 0}), ([[1, 1, 1, 1, 0, 0]], {1: 0}), 0),  # 0.5 is too little
        (([[0, 5, 5, 0, 0, 0]], {5: 0}), ([[1, 1, 0, 0, 0, 0]], {1: 1}), 0),  # half in void: counts
    ],
)
def test_panoptic_quality_follows_the_rules_of_void_and_crowd(predicted, true, expected):
    metric = PanopticQuality(Categories.from_json(CATEGORIES))
    metric.update(prediction(*predicted), truth(*true))
    assert metric.compute()["PQ"] == pytest.approx(expected, nan_ok=True)


def test_panoptic_quality_takes_true_areas_as_annotated():
    metric = PanopticQuality(Categories.from_json(CATEGORIES))
    stale = Truth(
        (1, 6), panoptic=np.array(LEFT, dtype=np.int32), segments=[TrueSegment(1, 0, 4, False)]
    )
    metric.update(prediction(LEFT, {1: 0}), stale)
    assert metric.compute()["PQ"] == 0.75


def test_panoptic_quality_of_a_clip_matches_tubes():
    metric = PanopticQuality(Categories.from_json(CATEGORIES))
    drawn = np.array([LEFT, [[0] * 6]], dtype=np.int32)
    predicted = Panoptic(drawn, [Segment(1, 0, 0.9, 3, True)])
    metric.update(predicted, truth([LEFT[0] + [1, 0, 0, 0, 0, 0]], {1: 0}))
    assert metric.compute()["PQ"] == 0.75


def test_panoptic_quality_refuses_maps_that_do_not_fit():
    metric = PanopticQuality(Categories.from_json(CATEGORIES))
    with pytest.raises(ValueError, match="original size"):
        metric.update(prediction([[0]], {}), truth(LEFT, {1: 0}))
    with pytest.raises(ValueError, match="panoptic ground truth"):
        metric.update(prediction(LEFT, {1: 0}), Truth((1, 6)))
    with pytest.raises(ValueError, match=r"true panoptic map holds the ids \[1\]"):
        metric.update(prediction(LEFT, {1: 0}), truth(LEFT, {}))
    with pytest.raises(ValueError, match=r"predicted panoptic map holds the ids \[2\]"):
        metric.update(prediction(RIGHT, {}), truth(LEFT, {1: 0}))
    ghost = Panoptic(np.zeros((1, 1, 6), dtype=np.int32), [Segment(4, 0, 0.9, 3, True)])
    with pytest.raises(ValueError, match="no pixel"):
        metric.update(ghost, truth(LEFT, {1: 0}))
    twice = [TrueSegment(1, 0, 3, False)] * 2
    doubled = Truth((1, 6), panoptic=np.array(LEFT, dtype=np.int32), segments=twice)
    with pytest.raises(ValueError, match="positive and unique"):
        metric.update(prediction(LEFT, {1: 0}), doubled)
