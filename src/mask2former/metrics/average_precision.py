"""COCO's mask average precision; matching and counting are left to hotcoco or pycocotools.

Call it in the main process only: after a first evaluation hotcoco's threads hang in a forked child.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Any, Literal, Self

import hotcoco
import numpy as np

from mask2former.categories import Categories
from mask2former.rle import encode_boxed, mean_area
from mask2former.structures import Instances, Truth

IMAGE_SIDES = (32, 96)
"""COCO: an object is small below 32 x 32 pixels, large above 96 x 96."""
CLIP_SIDES = (128, 256)
"""YouTube-VIS: the same of an object's mean area in the frames that show it."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


class AveragePrecision:
    """Mask AP of the things among the categories, in memory that does not grow with the pixels.

    Where several processes share a data set, `shard` is (rank, number of processes) and picture i
    belongs to rank i modulo their number; the merged figures are then those of a single process.
    """

    def __init__(
        self,
        categories: Categories,
        max_detections: int = 100,
        *,
        backend: Literal["hotcoco", "pycocotools"] = "hotcoco",
        sides: tuple[int, int] = IMAGE_SIDES,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self._names = {label: c.name for label, c in enumerate(categories) if c.is_thing}
        if not self._names:
            raise ValueError("AP is measured on things, and every category is stuff")
        self._max_detections = max_detections
        self._sides = sides
        # COCO's ids start at 1 (its code takes 0 for "unmatched") and are unique over the shards.
        rank, self._id_step = shard
        self._next_picture = self._next_object = rank + 1
        small, large = (side**2 for side in sides)
        stream = {"hotcoco": _hotcoco_stream, "pycocotools": _PycocotoolsStream}[backend]
        self._stream: Any = stream(
            [{"id": label, "name": name} for label, name in self._names.items()],
            [count for count in (1, 10) if count < max_detections] + [max_detections],
            [[0, 1e10], [0, small], [small, large], [large, 1e10]],
        )

    @property
    def protocol(self) -> str:
        """The rules in one sentence."""
        rules, unit = "mask AP as in COCO", "picture"
        if self._sides == CLIP_SIDES:
            rules, unit = "AP of masks in space and time as in YouTube-VIS", "clip"
        return (
            f"{rules}: mean over IoU 0.50:0.05:0.95 and the classes that occur in the ground"
            f" truth, crowds ignored, at most {self._max_detections} detections a {unit}"
        )

    def update(self, prediction: Instances, truth: Truth) -> None:
        """Match the instances of one picture or clip; ValueError if masks or scores are unfit."""
        if truth.instances is None:
            raise ValueError("AP needs annotated instances as ground truth, and this data has none")
        if np.isnan(prediction.scores).any():
            raise ValueError("a predicted score is NaN: look at the weights, training has diverged")
        frames, height, width = prediction.size
        size = [height, frames * width]
        for instance in truth.instances:
            if list(instance.rle["size"]) != size:
                raise ValueError(
                    f"the predicted masks are {size}, a true one {instance.rle['size']}:"
                    " predict at the original size of the picture"
                )
        picture = {"id": self._next_picture, "height": size[0], "width": size[1]}
        self._next_picture += self._id_step
        truths = list(self._annotations(truth, picture["id"]))
        self._count(picture, truths, list(self._detections(prediction, picture["id"])))

    def _count(self, picture: dict, truths: list[dict], found: list[dict]) -> None:
        """Match what is found in one picture with the truth."""
        self._stream.update([picture], truths, found)

    def _annotations(self, truth: Truth, picture: int) -> Iterable[dict]:
        for instance in truth.instances or ():
            if instance.label in self._names:
                yield {
                    "id": self._next_object,
                    "image_id": picture,
                    "category_id": instance.label,
                    "segmentation": instance.rle,
                    "area": instance.area,
                    "iscrowd": int(instance.is_crowd),
                }
                self._next_object += self._id_step

    def _detections(self, prediction: Instances, picture: int) -> Iterable[dict]:
        entries = zip(prediction.labels.tolist(), prediction.scores.tolist(), strict=True)
        for index, (label, score) in enumerate(entries):
            if label in self._names:
                mask = prediction.boxed[index]
                yield {
                    "image_id": picture,
                    "category_id": label,
                    "segmentation": encode_boxed(mask, prediction.size),
                    "score": score,
                    # COCO's rules take a result's area from its box, so this box has the area of
                    # the mask (of a clip: the mean over the frames that show the object).
                    "bbox": [0.0, 0.0, mean_area(mask.pixels), 1.0],
                }

    def merge(self, other: AveragePrecision) -> None:
        """Add what another process (another shard) has counted."""
        self._stream = type(self._stream).merge([self._stream, other._stream])

    def arrays(self) -> Arrays:
        """COCO's precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M).

        Axes: 10 IoU thresholds, 101 recalls, things, areas (all, small, medium, large), numbers of
        detections (the last is `max_detections`). Nothing to measure: -1.
        """
        with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation = copy.copy(self._stream).finalize()  # which uses up the copy
            evaluation.accumulate()
        found = evaluation.eval
        return found["precision"], found["recall"], found["scores"]

    def curves(self) -> dict[str, np.ndarray]:
        """Precision (101,) at recalls from 0 to 1 and IoU 0.50, of the things that occur."""
        precision = self.arrays()[0][0, :, :, 0, -1]
        named = zip(self._names.values(), precision.T, strict=True)
        return {name: curve for name, curve in named if (curve > -1).all()}

    def compute(self) -> dict[str, float]:
        """AP; at IoU 0.50 and 0.75; of small, medium and large objects; and average recall."""
        precision, recall, _ = self.arrays()
        return {
            "AP": mean(precision[..., 0, -1]),
            "AP50": mean(precision[0, ..., 0, -1]),
            "AP75": mean(precision[5, ..., 0, -1]),
            "AP_small": mean(precision[..., 1, -1]),
            "AP_medium": mean(precision[..., 2, -1]),
            "AP_large": mean(precision[..., 3, -1]),
            "AR": mean(recall[..., 0, -1]),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """AP, AP50 and recall of every thing; NaN for those that do not occur."""
        precision, recall, _ = self.arrays()
        return [
            {
                "name": name,
                "AP": mean(precision[:, :, position, 0, -1]),
                "AP50": mean(precision[0, :, position, 0, -1]),
                "AR": mean(recall[:, position, 0, -1]),
            }
            for position, name in enumerate(self._names.values())
        ]


def _hotcoco_stream(
    categories: list[dict], max_dets: list[int], area_ranges: list[list[float]]
) -> hotcoco.StreamingEval:
    params = hotcoco.Params("segm")
    params.max_dets, params.area_rng = max_dets, area_ranges
    return hotcoco.StreamingEval(categories, "segm", params=params)


class _PycocotoolsStream:
    """pycocotools behind the interface of `hotcoco.StreamingEval`: collects, evaluates at the end.

    Slower and larger, but the reference; it is not among the package's own dependencies.
    """

    def __init__(
        self, categories: list[dict], max_dets: list[int], area_ranges: list[list[float]]
    ) -> None:
        self._categories, self._max_dets, self._area_ranges = categories, max_dets, area_ranges
        self._images: list[dict] = []
        self._truth: list[dict] = []
        self._results: list[dict] = []

    def update(self, images: list[dict], truth: list[dict], results: list[dict]) -> None:
        self._images += images
        self._truth += truth
        self._results += results

    @classmethod
    def merge(cls, streams: Iterable[Self]) -> Self:
        first, *others = streams
        merged = cls(first._categories, first._max_dets, first._area_ranges)
        for stream in (first, *others):
            merged.update(stream._images, stream._truth, stream._results)
        return merged

    def finalize(self) -> Any:
        from pycocotools.cocoeval import COCOeval

        results = [
            # What `COCO.loadRes` would add, were it not to stumble over an empty list.
            {**result, "id": number, "area": result["bbox"][2], "iscrowd": 0}
            for number, result in enumerate(self._results, start=1)
        ]
        evaluation = COCOeval(self._index(self._truth), self._index(results), "segm")
        evaluation.params.maxDets = self._max_dets
        evaluation.params.areaRng = self._area_ranges
        evaluation.evaluate()
        return evaluation

    def _index(self, annotations: list[dict]) -> Any:
        from pycocotools.coco import COCO

        coco: Any = COCO()
        coco.dataset = {
            "images": self._images,
            "categories": self._categories,
            "annotations": annotations,
        }
        coco.createIndex()
        return coco


def mean(values: np.ndarray) -> float:
    """The mean of what was measured; NaN where there was nothing."""
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else float("nan")
