"""Boundary AP beside mask AP: how well outlines fit; matching is left to vernier."""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

from mask2former.categories import Categories
from mask2former.metrics.average_precision import AveragePrecision, mean
from mask2former.structures import Instances, Truth

FIGURES = ("boundary_AP", "boundary_AP50", "boundary_AP75")


class BoundaryAP(AveragePrecision):
    """Mask AP, and boundary AP: the same with the smaller of mask IoU and boundary IoU.

    The boundary of a mask is its pixels within `width`, a part of the picture's diagonal, of its
    outline (Cheng et al., Boundary IoU, CVPR 2021); crowds keep the mask IoU. The masks of all
    pictures are kept, encoded, until the end.
    """

    def __init__(
        self,
        categories: Categories,
        max_detections: int = 100,
        *,
        width: float = 0.02,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(categories, max_detections, shard=shard)
        if importlib.util.find_spec("vernier") is None:
            raise ValueError(
                "boundary AP needs vernier, which is not installed; "
                "pip install 'mask2former[boundary]', or leave test.boundary at null"
            )
        self._width = width
        self._pictures: list[dict] = []
        self._truths: list[dict] = []
        self._found: list[dict] = []

    @property
    def protocol(self) -> str:
        """The rules in one sentence."""
        band = f"a band of {self._width:g} of the picture's diagonal"
        return f"{super().protocol}; boundary AP: the IoU is at most that of the masks in {band}"

    def update(self, prediction: Instances, truth: Truth) -> None:
        """As of mask AP; ValueError for a clip too."""
        if prediction.size[0] != 1:
            raise ValueError(
                "boundary AP is of pictures, not of clips: leave test.boundary at null"
            )
        super().update(prediction, truth)

    def _count(self, picture: dict, truths: list[dict], found: list[dict]) -> None:
        super()._count(picture, truths, found)
        self._pictures.append(picture)
        self._truths += truths
        self._found += found

    def merge(self, other: BoundaryAP) -> None:  # pyrefly: ignore[bad-override]
        """Add what another process (another shard) has counted."""
        super().merge(other)
        self._pictures += other._pictures
        self._truths += other._truths
        self._found += other._found

    def compute(self) -> dict[str, float]:
        """Those of mask AP, then boundary AP; at IoU 0.50 and 0.75."""
        return super().compute() | self._measure_boundaries()

    def _measure_boundaries(self) -> dict[str, float]:
        if not self._truths:
            return dict.fromkeys(FIGURES, float("nan"))
        from vernier import COCOeval

        # What stands in COCO's files, or is added as they are read.
        truths = [{**true, "bbox": [0.0, 0.0, true["area"], 1.0]} for true in self._truths]
        found = [
            {**one, "id": number, "area": one["bbox"][2], "iscrowd": 0}
            for number, one in enumerate(self._found, start=1)
        ]
        evaluation: Any = COCOeval(self._index(truths), self._index(found), "boundary", self._width)
        evaluation.params.maxDets = [self._max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][..., 0, -1]  # of all sizes: (T, R, K)
        return dict(zip(FIGURES, map(mean, (precision, precision[0], precision[5])), strict=True))

    def _index(self, annotations: list[dict]) -> _Index:
        kinds = [{"id": label, "name": name} for label, name in self._names.items()]
        return _Index({"images": self._pictures, "categories": kinds, "annotations": annotations})


class _Index(NamedTuple):
    """What vernier reads of a `pycocotools.coco.COCO`."""

    dataset: dict[str, list[dict]]

    def getImgIds(self) -> list[int]:  # noqa: N802
        return [picture["id"] for picture in self.dataset["images"]]

    def getCatIds(self) -> list[int]:  # noqa: N802
        return [kind["id"] for kind in self.dataset["categories"]]
