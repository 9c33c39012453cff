"""Pictures of truth and prediction, side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.render import overlay, side_by_side
from mask2former.structures import (
    BoxedMask,
    Instances,
    Panoptic,
    Result,
    Segment,
    SemanticMap,
    Truth,
)


def compare(image: np.ndarray, truth: Truth, result: Result, categories: Categories) -> Image.Image:
    """What annotators and what the model see in a picture, or in a clip's first frame."""
    image = image if image.ndim == 3 else image[0]
    true = as_result(truth, result, image.shape[1], categories)
    drawn = [overlay(image, shown, categories) for shown in (true, result)]
    return side_by_side(drawn, ["truth", "prediction"])


def as_result(truth: Truth, like: Result, width: int, categories: Categories) -> Result:
    """The truth as a result of another's kind; of a clip the first frame, which is so wide.

    Crowds are there too: a person wants to know of them.
    """
    match like:
        case Instances():
            found = truth.instances or []
            boxed = [BoxedMask.of(rle.decode(true.rle)[None, :, :width]) for true in found]
            labels = np.array([true.label for true in found], np.int64)
            scores = np.ones(len(found), np.float32)
            return Instances(boxed, labels, scores, (1, truth.size[0], width))
        case Panoptic():
            assert truth.panoptic is not None
            ids = truth.panoptic[None, :, :width]
            is_thing = categories.is_thing
            return Panoptic(
                ids,
                [Segment(s.id, s.label, 1.0, s.area, is_thing[s.label]) for s in truth.segments],
            )
        case SemanticMap():
            assert truth.semantic is not None
            return SemanticMap(truth.semantic[None, :, :width])
