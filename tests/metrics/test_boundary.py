"""Boundary AP is that of the definition, written out on pixels."""

import importlib.util

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former import rle
from mask2former.categories import Categories
from mask2former.config import override_config, parse_config
from mask2former.metrics import AveragePrecision, BoundaryAP, for_task
from mask2former.structures import Instances, TrueInstance, Truth

TWO = Categories.from_json([{"id": 4, "name": "nucleus"}, {"id": 8, "name": "cell"}])
needs_vernier = pytest.mark.skipif(
    importlib.util.find_spec("vernier") is None, reason="vernier, of an extra, is not installed"
)
Pair = tuple[Instances, Truth]


def boundary_of(mask: np.ndarray, width: float) -> np.ndarray:
    """Pixels of a mask from which a step count of the band's width leads out of it."""
    steps = max(1, round(width * np.hypot(*mask.shape)))
    inner = np.pad(mask, 1)
    for _ in range(steps):
        rows = np.pad(inner, ((1, 1), (0, 0)))
        inner = rows[:-2] & rows[1:-1] & rows[2:]
        columns = np.pad(inner, ((0, 0), (1, 1)))
        inner = columns[:, :-2] & columns[:, 1:-1] & columns[:, 2:]
    return mask & ~inner[1:-1, 1:-1]


class BoundaryEval(COCOeval):
    """COCO's evaluation with the smaller of the two IoUs."""

    width = 0.02

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:  # noqa: N802, N803
        ious = super().computeIoU(imgId, catId)
        found = sorted(self._dts[imgId, catId], key=lambda d: -d["score"])  # stable, as COCO's
        for i, row in enumerate(ious):
            for j, truth in enumerate(self._gts[imgId, catId]):
                ours, theirs = self.band(found[i]), self.band(truth)
                if not truth["iscrowd"]:  # the authors leave crowds to their masks
                    row[j] = min(row[j], (ours & theirs).sum() / max((ours | theirs).sum(), 1))
        return ious

    def band(self, annotation: dict) -> np.ndarray:
        return boundary_of(rle.decode(annotation["segmentation"]), self.width)


def by_the_definition(pairs: list[Pair], width: float) -> list[float]:
    """AP, AP50 and AP75."""
    images, truths, results = [], [], []
    for number, (predicted, true) in enumerate(pairs, start=1):
        images.append({"id": number, "height": true.size[0], "width": true.size[1]})
        for t in true.instances:
            more = {"area": t.area, "iscrowd": int(t.is_crowd), "segmentation": t.rle}
            ids = {"id": len(truths) + 1, "image_id": number, "category_id": t.label}
            truths.append(ids | more)
        rows = zip(predicted.masks, predicted.labels, predicted.scores, strict=True)
        for mask, label, score in rows:
            code = coco_mask.encode(np.asfortranarray(mask[0], dtype=np.uint8))
            ids = {"image_id": number, "category_id": int(label)}
            results.append(ids | {"segmentation": code, "score": float(score)})
    reference = COCO()
    kinds = [{"id": label, "name": c.name} for label, c in enumerate(TWO)]
    reference.dataset = {"images": images, "annotations": truths, "categories": kinds, "info": {}}
    reference.createIndex()
    evaluation = BoundaryEval(reference, reference.loadRes(results), "segm")
    evaluation.width = width
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats[:3])


def disc(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    centre, radius = rng.integers(0, size), rng.integers(4, 30, size=2)
    return ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1


def random_pairs(seed: int) -> list[Pair]:
    """Discs, some of them crowds, found a little aside, some twice, some not."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(4):
        size = int(rng.integers(40, 130)), int(rng.integers(40, 130))
        masks = [disc(rng, size) for _ in range(rng.integers(1, 6))]
        truth = [
            TrueInstance(rle.encode(m), int(rng.integers(2)), float(m.sum()), rng.random() < 0.15)
            for m in masks
        ]
        found = [(disc(rng, size), int(rng.integers(2)))]
        for mask, true in zip(masks, truth, strict=True):
            for _ in range(rng.integers(0, 3)):
                shift = rng.integers(-2, 3, size=2)
                found.append((np.roll(mask, shift, axis=(0, 1)), true.label))
        scores = np.sort(rng.random(len(found)).astype(np.float32).round(1))[::-1]
        pixels = np.stack([mask for mask, _ in found])[:, None]
        labels = np.array([label for _, label in found])
        pairs.append((Instances.of_masks(pixels, labels, scores), Truth(size, instances=truth)))
    return pairs


def measure(pairs: list[Pair], **options) -> BoundaryAP:
    metric = BoundaryAP(TWO, **options)
    for pair in pairs:
        metric.update(*pair)
    return metric


@needs_vernier
@pytest.mark.oracle
@pytest.mark.parametrize("width", [0.02, 0.05])
@pytest.mark.parametrize("seed", range(16))
def test_boundary_ap_is_that_of_the_definition(seed, width):
    pairs = random_pairs(seed)
    figures = measure(pairs, width=width).compute()
    found = [figures[name] for name in ("boundary_AP", "boundary_AP50", "boundary_AP75")]
    assert found == pytest.approx(by_the_definition(pairs, width), abs=1e-12)
    assert figures["boundary_AP"] <= figures["AP"]


@needs_vernier
def test_mask_ap_stays_as_it_is():
    pairs = random_pairs(0)
    plain = AveragePrecision(TWO)
    for pair in pairs:
        plain.update(*pair)
    metric = measure(pairs)
    figures = metric.compute()
    assert list(figures)[: len(plain.compute())] == list(plain.compute())
    for name, value in plain.compute().items():
        assert figures[name] == pytest.approx(value, rel=0, abs=0, nan_ok=True)
    assert metric.per_class() == plain.per_class()
    assert metric.protocol.endswith("of the masks in a band of 0.02 of the picture's diagonal")


@needs_vernier
def test_shards_give_the_figures_of_one_process():
    pairs = random_pairs(1)
    shards = [measure(pairs[rank::2], shard=(rank, 2)) for rank in (0, 1)]
    shards[0].merge(shards[1])
    assert shards[0].compute() == pytest.approx(measure(pairs).compute(), rel=0, nan_ok=True)


@needs_vernier
@pytest.mark.parametrize("most", [5, 50, 300])
def test_number_of_detections_is_heeded(most):
    size = (60, 60)
    y, x = np.divmod(np.arange(400), 20)
    masks = np.zeros((400, 1, *size), bool)
    for mask, top, left in zip(masks, 3 * y, 3 * x, strict=True):
        mask[0, top : top + 2, left : left + 2] = True
    truth = [TrueInstance(rle.encode(m[0]), 0, 4.0, is_crowd=False) for m in masks]
    scores = np.linspace(1, 0, 400, dtype=np.float32)
    found = Instances.of_masks(masks, np.zeros(400, np.int64), scores)
    figures = measure([(found, Truth(size, instances=truth))], max_detections=most).compute()
    assert figures["boundary_AP"] == pytest.approx(figures["AP"], abs=1e-12)
    assert figures["AP"] == pytest.approx(most / 400, abs=0.01)


@needs_vernier
@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("true", [0, 1])
def test_pictures_without_objects_are_measured(found, true):
    mask = np.zeros((1, 1, 40, 40), bool)
    mask[..., 5:30, 5:30] = True
    truth = [TrueInstance(rle.encode(mask[0, 0]), 0, 625.0, is_crowd=False)][:true]
    labels, scores = np.zeros(1, np.int64), np.ones(1, np.float32)
    predicted = Instances.of_masks(mask[:found], labels[:found], scores[:found])
    figures = measure([(predicted, Truth((40, 40), instances=truth))]).compute()
    assert figures["boundary_AP"] == pytest.approx(figures["AP"], nan_ok=True)
    assert np.isnan(figures["AP"]) == (true == 0)


@needs_vernier
def test_clips_are_refused():
    clip = Instances.of_masks(np.ones((1, 2, 8, 8), bool), np.zeros(1, int), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="of pictures, not of clips"):
        BoundaryAP(TWO).update(clip, Truth((8, 16), instances=[]))


@needs_vernier
def test_boundaries_are_measured_when_asked_for():
    assert isinstance(for_task("instance", TWO, boundary=0.02), BoundaryAP)
    assert not isinstance(for_task("instance", TWO), BoundaryAP)


def test_missing_library_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'mask2former\[boundary\]'"):
        BoundaryAP(TWO)


def test_rules_without_boundaries_are_refused():
    with pytest.raises(ValueError, match="by COCO's rules only; set ap=coco, or leave"):
        override_config(parse_config({}, "x"), ["test.ap=cityscapes", "test.boundary=0.02"])
