"""Cityscapes' AP against its rules written out in loops, and against cityscapesScripts itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.metrics.cityscapes import CityscapesAP
from mask2former.structures import Instances, TrueInstance, Truth

THINGS = Categories.bundled("cityscapes_instance")
SIZE = (60, 90)
Scene = tuple[np.ndarray, list[tuple[np.ndarray, int, float]]]
"""A map of instance ids, and (mask, label, score) of the detections."""


def make_scene(rng: np.random.Generator) -> Scene:
    """Blobs of things, groups, void and road; detections are shifted objects and rubbish."""
    ids = np.full(SIZE, 7)
    for number in range(rng.integers(2, 9)):
        top, left = rng.integers(0, 45), rng.integers(0, 70)
        height, width = rng.integers(4, 25), rng.integers(4, 30)
        thing = THINGS[rng.integers(0, 3)].id
        value = rng.choice([thing * 1000 + number, thing * 1000 + number, thing, 4, 29, 29001])
        ids[top : top + height, left : left + width] = value
    found = []
    for value in np.unique(ids):
        for _ in range(rng.integers(0, 4)):
            mask = np.roll(ids == value, rng.integers(-3, 4, 2), (0, 1))
            mask &= rng.random(SIZE) < rng.choice([1.0, 0.8])
            thing = value // 1000 if value >= 1000 else value
            label = THINGS.label_of.get(int(thing), int(rng.integers(0, 3)))
            found.append((mask, label, float(np.float32(rng.integers(1, 9) / 10))))
    return ids, found


def as_truth(ids: np.ndarray) -> Truth:
    """What the reader makes of the map."""
    evaluated = Categories.bundled("cityscapes_panoptic").label_of
    things = [
        TrueInstance(rle.encode(ids == v), THINGS.label_of[c], int((ids == v).sum()), v < 1000)
        for v in np.unique(ids)
        if (c := int(v // 1000 if v >= 1000 else v)) in THINGS.label_of
    ]
    void = np.isin(ids, [v for v in range(1000) if v not in evaluated])
    return Truth(SIZE, instances=things, void=void)


def as_instances(found: list[tuple[np.ndarray, int, float]]) -> Instances:
    pixels = np.zeros((len(found), SIZE[0] * SIZE[1]), bool)
    for row, (mask, _, _) in zip(pixels, found, strict=True):
        row[:] = mask.ravel()
    labels = np.array([label for _, label, _ in found], np.int64)
    scores = np.array([score for _, _, score in found], np.float32)
    return Instances.of_masks(pixels.reshape(-1, 1, *SIZE), labels, scores)


def measure(scenes: list[Scene]) -> CityscapesAP:
    metric = CityscapesAP(THINGS)
    for ids, found in scenes:
        metric.update(as_instances(found), as_truth(ids))
    return metric


def judge_by_hand(ids, found, label: int, overlap: float):
    """The (score, is right) that count, and the number of objects."""
    truth = as_truth(ids)
    objects = [t for t in truth.instances if t.label == label]
    verdicts, claims = [], {i: [] for i in range(len(objects))}
    for mask, own, score in found:
        if own != label or not mask.any():
            continue
        forgiven, hit = int((mask & truth.void).sum()), False
        for i, true in enumerate(objects):
            shape = rle.decode(true.rle)
            both, either = (mask & shape).sum(), (mask | shape).sum()
            if both / either > overlap:
                hit = True
                claims[i].append(float(np.float32(score)))
            forgiven += both * (int(true.is_crowd) + int(true.area < 100))
        if not hit and forgiven / mask.sum() <= overlap:
            verdicts.append((float(np.float32(score)), False))
    count = 0
    for i, true in enumerate(objects):
        if true.is_crowd or true.area < 100:
            continue
        count += 1
        best, *rest = sorted(claims[i], reverse=True) or [None]
        verdicts += [(score, False) for score in rest]
        if best is not None:
            verdicts.append((best, True))
    return verdicts, count


def ap_by_hand(scenes: list[Scene], label: int, overlap: float) -> float:
    judged = [judge_by_hand(ids, found, label, overlap) for ids, found in scenes]
    verdicts = [verdict for one, _ in judged for verdict in one]
    objects = sum(count for _, count in judged)
    if objects == 0:
        return float("nan")
    points = []
    for threshold in sorted({score for score, _ in verdicts}):
        kept = [right for score, right in verdicts if score >= threshold]
        points.append((sum(kept) / objects, sum(kept) / len(kept)))
    points.append((0.0, 1.0))
    recalls = [points[0][0], *(recall for recall, _ in points), 0.0]
    return sum(p * (recalls[i] - recalls[i + 2]) / 2 for i, (_, p) in enumerate(points))


def test_ap_equals_the_rules_written_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        scenes = [make_scene(rng) for _ in range(6)]
        overlaps = np.arange(0.5, 1.0, 0.05)
        hand = [[ap_by_hand(scenes, k, t) for t in overlaps] for k in range(len(THINGS))]
        rows = measure(scenes).per_class()
        np.testing.assert_allclose([row["AP"] for row in rows], np.mean(hand, axis=1), atol=1e-12)
        occurring = np.array([row for row in hand if not np.isnan(row[0])])
        figures = measure(scenes).compute()
        assert figures["AP"] == pytest.approx(occurring.mean(), abs=1e-12)
        assert figures["AP50"] == pytest.approx(occurring[:, 0].mean(), abs=1e-12)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # of cityscapesScripts and what it imports
def test_ap_equals_cityscapesscripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = pytest.importorskip(
        "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling",
        reason="cityscapesscripts is not installed",
    )
    # Two things in it that numpy 2.4 broke: a function that is gone, and JSON of numpy's numbers.
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    monkeypatch.setattr(official, "writeDict2JSON", lambda *_: None)
    rng = np.random.default_rng(1)
    scenes = [make_scene(rng) for _ in range(15)]
    predictions, truths = [], []
    for number, (ids, found) in enumerate(scenes):
        truths.append(str(tmp_path / f"{number}_gtFine_instanceIds.png"))
        Image.fromarray(ids.astype(np.uint16)).save(truths[-1])
        lines = []
        for index, (mask, label, score) in enumerate(found):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{number}_{index}.png")
            lines.append(f"{number}_{index}.png {THINGS[label].id} {float(np.float32(score))}\n")
        predictions.append(str(tmp_path / f"{number}.txt"))
        Path(predictions[-1]).write_text("".join(lines))
    options = official.args
    options.predictionPath, options.predictionWalk = str(tmp_path), None
    options.JSONOutput, options.quiet = False, True
    options.gtInstancesFile = str(tmp_path / "gtInstances.json")
    theirs = official.evaluateImgLists(predictions, truths, options)["averages"]
    ours = measure(scenes)
    assert ours.compute()["AP"] == pytest.approx(theirs["allAp"], abs=1e-12)
    assert ours.compute()["AP50"] == pytest.approx(theirs["allAp50%"], abs=1e-12)
    for row in ours.per_class():
        assert row["AP"] == pytest.approx(theirs["classes"][row["name"]]["ap"], nan_ok=True)


def test_merged_shards_equal_one_process() -> None:
    rng = np.random.default_rng(2)
    scenes = [make_scene(rng) for _ in range(6)]
    first, second = measure(scenes[::2]), measure(scenes[1::2])
    first.merge(second)
    assert first.compute() == pytest.approx(measure(scenes).compute())


def test_nothing_to_measure_is_nan() -> None:
    figures = CityscapesAP(THINGS).compute()
    assert np.isnan(list(figures.values())).all()
    empty = measure([(np.full(SIZE, 7), [])])
    assert np.isnan(empty.compute()["AP"])


def test_objects_without_a_detection_have_ap_0() -> None:
    ids = np.full(SIZE, 7)
    ids[:20, :20] = 24_000
    assert measure([(ids, [])]).compute() == {"AP": 0.0, "AP50": 0.0}


def test_truth_without_void_names_the_other_rules() -> None:
    with pytest.raises(ValueError, match=r"data.format=cityscapes.*test.ap=coco"):
        CityscapesAP(THINGS).update(as_instances([]), Truth(SIZE, instances=[]))


def test_masks_of_another_size_are_refused() -> None:
    ids, found = make_scene(np.random.default_rng(0))
    truth = as_truth(ids[:, ::-1])
    wrong = Truth((60, 80), instances=truth.instances, void=truth.void)
    with pytest.raises(ValueError, match="at the original size"):
        CityscapesAP(THINGS).update(as_instances(found), wrong)


def test_stuff_alone_is_refused() -> None:
    stuff = [c for c in Categories.bundled("cityscapes_semantic") if not c.is_thing]
    with pytest.raises(ValueError, match="every category is stuff"):
        CityscapesAP(Categories(stuff))
