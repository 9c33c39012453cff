"""Mean intersection over union of label maps, with the formulas of detectron2."""

from __future__ import annotations

from typing import Any

import numpy as np

from mask2former.categories import Categories
from mask2former.rle import side_by_side
from mask2former.structures import IGNORE, SemanticMap, Truth


class MeanIoU:
    """Counts pixels by (true class, predicted class); the state is that one matrix."""

    def __init__(self, categories: Categories) -> None:
        self._names = categories.names
        # (K, K + 1); the last column counts true pixels to which no class was given.
        self._pixels = np.zeros((len(categories), len(categories) + 1), dtype=np.int64)

    @property
    def protocol(self) -> str:
        """The rules in one sentence."""
        return (
            "semantic segmentation as in detectron2: unlabelled pixels are left out,"
            " mIoU is the mean over the classes that occur in the ground truth"
        )

    def update(self, prediction: SemanticMap, truth: Truth) -> None:
        """Count the pixels of one picture or clip; ValueError if the two maps do not fit."""
        if truth.semantic is None:
            raise ValueError("mIoU needs a label map as ground truth, and this data has none")
        predicted, true = side_by_side(prediction.labels), truth.semantic
        if predicted.shape != true.shape:
            raise ValueError(
                f"the predicted label map is {predicted.shape}, the true one {true.shape}:"
                " predict at the original size of the picture"
            )
        classes, columns = self._pixels.shape
        for source, labels in (("predicted", predicted), ("true", true)):
            if labels.size and not IGNORE <= labels.min() <= labels.max() < classes:
                raise ValueError(
                    f"a {source} label map holds {labels.min()}..{labels.max()}, but the labels"
                    f" of {classes} classes are 0..{classes - 1} and {IGNORE} for nobody"
                )
        counted = true != IGNORE
        # -1 wraps round to the last column.
        pairs = true[counted].astype(np.int64) * columns + predicted[counted] % columns
        counts = np.bincount(pairs, minlength=self._pixels.size)
        self._pixels += counts.reshape(self._pixels.shape)

    def merge(self, other: MeanIoU) -> None:
        """Add what another process has counted."""
        self._pixels += other._pixels

    def compute(self) -> dict[str, float]:
        """mIoU; IoU weighted by class frequency; mean accuracy of the classes; pixel accuracy."""
        correct, true, union = self._areas()
        present = true > 0
        if not present.any():
            return dict.fromkeys(("mIoU", "fwIoU", "mACC", "pACC"), float("nan"))
        correct, true, union = correct[present], true[present], union[present]
        iou = correct / union
        return {
            "mIoU": float(iou.mean()),
            "fwIoU": float((iou * true / true.sum()).sum()),
            "mACC": float((correct / true).mean()),
            "pACC": float(correct.sum() / true.sum()),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """IoU and accuracy of every class; NaN for classes without a true pixel."""
        rows = zip(self._names, *(areas.tolist() for areas in self._areas()), strict=True)
        return [
            {
                "name": name,
                "IoU": correct / union if true else float("nan"),
                "accuracy": correct / true if true else float("nan"),
            }
            for name, correct, true, union in rows
        ]

    def _areas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of each class: correct ones, true ones, and the union of true and predicted."""
        correct = self._pixels.diagonal()
        true = self._pixels.sum(axis=1)
        predicted = self._pixels[:, :-1].sum(axis=0)
        return correct, true, true + predicted - correct
