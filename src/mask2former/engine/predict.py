"""From a picture to a result: resize, network, post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard, load_model
from mask2former.config import Task
from mask2former.data.transforms import shorten
from mask2former.engine.device import choose_device
from mask2former.files import as_rgb, read_image
from mask2former.model.mask2former import Mask2Former
from mask2former.postprocess.instance import instances
from mask2former.postprocess.panoptic import panoptic
from mask2former.postprocess.semantic import semantic_map, semantic_map_at_original_size
from mask2former.results import PictureResult, wrap
from mask2former.structures import Prediction, Result, Sizes
from mask2former.zoo import find_model

STRIDE = 32
Source = str | Path | Image.Image | np.ndarray | Tensor


class Predictor:
    """A network with all it needs to answer for pictures.

    Takes a path, a PIL image, a uint8 array (H, W, 3), or a tensor (3, H, W), RGB 0..255; a list
    of these gives a list.
    """

    def __init__(self, model: Mask2Former, card: ModelCard, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.card = card
        self.device = device
        self.is_thing = torch.tensor(card.categories.is_thing)

    @property
    def categories(self) -> Categories:
        """The classes, by label."""
        return self.card.categories

    @property
    def task(self) -> Task:
        """The task the model was made for."""
        return self.card.config.test.task

    @overload
    def __call__(
        self, source: Source, task: Task | None = None, threshold: float | None = None
    ) -> PictureResult: ...

    @overload
    def __call__(
        self, source: Sequence[Source], task: Task | None = None, threshold: float | None = None
    ) -> list[PictureResult]: ...

    def __call__(
        self,
        source: Source | Sequence[Source],
        task: Task | None = None,
        threshold: float | None = None,
    ) -> PictureResult | list[PictureResult]:
        """Segment. `threshold` is the class score a segment, or the score an instance, needs.

        Without one, panoptic segments need the model's own threshold, and all instances come.
        """
        if isinstance(source, list | tuple):
            return [self(one, task, threshold) for one in source]
        image, name = read_source(cast("Source", source))
        plain = self.segment(image, task or self.task, threshold)
        return wrap(image, name, self.categories, plain)

    def segment(self, image: np.ndarray, task: Task, threshold: float | None = None) -> Result:
        """The plain result for a uint8 picture (H, W, 3)."""
        test = self.card.config.test
        prediction, sizes = self.infer(image)
        match task:
            case "semantic" if self.task == "semantic":
                return semantic_map(prediction, sizes)
            case "semantic":
                return semantic_map_at_original_size(prediction, sizes)
            case "instance":
                return instances(
                    prediction,
                    sizes,
                    is_thing=self.is_thing,
                    max_detections=test.max_detections,
                    threshold=threshold or 0.0,
                )
            case "panoptic":
                return panoptic(
                    prediction,
                    sizes,
                    is_thing=self.is_thing,
                    threshold=test.threshold if threshold is None else threshold,
                    overlap_threshold=test.overlap_threshold,
                )
        raise ValueError(f"no task '{task}'; choose {', '.join(get_args(Task))}")

    @torch.inference_mode()
    def infer(self, image: np.ndarray) -> tuple[Prediction, Sizes]:
        """The network's last prediction for one picture, and the sizes it passed through."""
        test = self.card.config.test
        original = (image.shape[0], image.shape[1])
        network = shorten(original, test.short_edge, test.max_size)
        resized = Image.fromarray(image).resize(network[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        padded = pad_with_mean(pixels.to(self.device).float(), self.model.mean)
        return self.model(padded[None])[-1], Sizes(network, original)


def pad_with_mean(pixels: Tensor, mean: Tensor) -> Tensor:
    """Pad (3, H, W) right and below to multiples of 32 with what normalising turns into zero."""
    height, width = (-(-side // STRIDE) * STRIDE for side in pixels.shape[1:])
    padded = mean.expand(-1, height, width).clone()
    padded[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    return padded


def read_source(source: Source) -> tuple[np.ndarray, str]:
    """A picture in any accepted form as uint8 (H, W, 3), and its name."""
    match source:
        case str() | Path():
            return read_image(source), str(source)
        case Image.Image():
            name = getattr(source, "filename", "") or "picture"
            return as_rgb(source, name), name
        case Tensor():
            array = source.detach().cpu().permute(1, 2, 0).numpy() if source.ndim == 3 else None
        case _:
            array = source
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            "a picture is a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W)"
        )
    if 0 in array.shape:
        raise ValueError(f"the picture has no pixel: its size is {array.shape[:2]}")
    if array.dtype != np.uint8:
        array = _as_bytes(array)
    return np.ascontiguousarray(array), "picture"


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Other numbers than bytes, if they too count from 0 to 255."""
    if array.dtype.kind not in "iuf":
        raise ValueError(f"a picture's values are numbers from 0 to 255, not {array.dtype}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ValueError("a picture's values are RGB from 0 to 255")
    if array.dtype.kind == "f" and 0 < array.max() <= 1:
        raise ValueError("a picture's values are RGB from 0 to 255; multiply these by 255")
    return array.round().astype(np.uint8)


def load(model: str | Path, device: str = "auto") -> Predictor:
    """Load a model by name (`nuclei`), model folder or Hub id."""
    network, card = load_model(find_model(str(model)))
    return Predictor(network, card, choose_device(device))
