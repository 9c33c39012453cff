"""From a picture to a result: resize, network, post-processing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard, load_model
from mask2former.config import Task, Tta, override_config
from mask2former.data.transforms import shorten
from mask2former.engine.device import choose_device
from mask2former.engine.pipeline import ahead
from mask2former.engine.sources import ClipSource, Source, read_frames, read_source
from mask2former.engine.tiles import Tiling, segment_tiles
from mask2former.model.kernels.hasten import hasten
from mask2former.model.mask2former import Mask2Former
from mask2former.postprocess.duplicates import without_duplicates
from mask2former.postprocess.instance import instances, tracks
from mask2former.postprocess.panoptic import panoptic
from mask2former.postprocess.semantic import (
    Score,
    View,
    resize_masks,
    resize_scores,
    semantic_map,
    semantic_map_of_views,
)
from mask2former.rasters import reader
from mask2former.results import (
    InstanceResult,
    PanopticResult,
    PictureResult,
    SemanticResult,
    wrap,
)
from mask2former.runtime import ExportedNetwork, is_exported, load_exported
from mask2former.structures import Prediction, Result, Sizes
from mask2former.zoo import find_model

STRIDE = 32
Turn = Callable[[Tensor], Tensor]


def upright(maps: Tensor) -> Tensor:
    """As it is."""
    return maps


def mirrored(maps: Tensor) -> Tensor:
    """Left and right exchanged."""
    return maps.flip(-1)


TURNS: dict[str, tuple[Turn, ...]] = {"none": (upright,), "horizontal": (upright, mirrored)}


class Predictor:
    """A network with all it needs to answer for pictures, and a video model's for clips.

    It takes the network over: batch norms are folded into the weights, for inference. An exported
    network is run as it is.

    Takes a path, a file's bytes, a PIL image, a uint8 array (H, W, 3) or (H, W), or a tensor
    (3, H, W), RGB 0..255; a list of these gives a list. A model of other channels takes arrays
    (H, W, C) of its own numbers. To a video model each is a clip of one frame; longer ones go to
    `clip`.
    """

    def __init__(
        self, model: Mask2Former | ExportedNetwork, card: ModelCard, device: torch.device
    ) -> None:
        is_module = isinstance(model, Mask2Former)
        self.model: Any = hasten(model.to(device).eval()) if is_module else model
        self.size = None if is_module else model.size  # the one that the network takes
        self.card = card
        # Official: models trained for semantic maps alone resize scores, all others masks.
        self.score: Score = resize_scores if self.task == "semantic" else resize_masks
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

    @property
    def channels(self) -> int | None:
        """How many channels of their own depth pictures have; None: they are 8-bit RGB."""
        return self.card.config.data.channels

    def read(self, path: str | Path) -> np.ndarray:
        """The pixels of a file as `segment` takes them."""
        return reader(self.channels)(path)

    @property
    def takes_clips(self) -> bool:
        """Whether this is a video model, which follows objects through all frames of a clip."""
        return self.card.config.model.transformer_decoder.position == "3d"

    @overload
    def __call__(
        self, source: Source, task: Literal["instance"], threshold: float | None = None
    ) -> InstanceResult: ...

    @overload
    def __call__(
        self, source: Source, task: Literal["panoptic"], threshold: float | None = None
    ) -> PanopticResult: ...

    @overload
    def __call__(self, source: Source, task: Literal["semantic"]) -> SemanticResult: ...

    @overload  # of the model's own task, which types cannot know; a list for several sources
    def __call__(
        self,
        source: Source | Sequence[Source],
        task: Task | None = None,
        threshold: float | None = None,
    ) -> Any: ...

    def __call__(
        self,
        source: Source | Sequence[Source],
        task: Task | None = None,
        threshold: float | None = None,
    ) -> PictureResult | list[PictureResult]:
        """Segment. `threshold` is the class score a segment, or the score an instance, needs.

        Without one, panoptic segments need the model's own threshold, and all instances come.
        Raises ValueError for a source that cannot be read, and for a threshold outside of 0..1 or
        of a semantic map, where every pixel has a class.
        """
        if isinstance(source, list | tuple):
            return list(self.each(source, task, threshold))
        return self.answer(*read_source(cast("Source", source), self.channels), task, threshold)

    def each(
        self, sources: Iterable[Source], task: Task | None = None, threshold: float | None = None
    ) -> Iterator[PictureResult]:
        """Segment one after the other; the next picture is read meanwhile, and none is kept."""
        read = partial(read_source, channels=self.channels)
        with closing(ahead(map(read, sources))) as pictures:
            for image, name in pictures:
                yield self.answer(image, name, task, threshold)

    def answer(
        self,
        image: np.ndarray,
        name: str,
        task: Task | None,
        threshold: float | None,
        tiling: Tiling | None = None,
    ) -> PictureResult:
        """The result for pixels as `segment` takes them, with all a person needs of it."""
        task = task or self.task
        if threshold is not None:
            check_threshold(threshold, task)
        if tiling is None:
            plain = self.segment(image, task, threshold)
        else:
            plain = self.segment_tiles(image, task, threshold, tiling)
        return wrap(image, name, self.categories, plain)

    def clip(
        self, source: ClipSource, task: Task | None = None, threshold: float | None = None
    ) -> PictureResult:
        """Segment a clip as one, so that an object is one instance with a mask in every frame.

        Takes a folder of frames, a video file, any sequence of pictures, an array (T, H, W, 3) or a
        tensor (T, 3, H, W). All frames go through the network together: cut long videos in pieces.
        """
        return self.answer(*read_frames(source, self.channels), task, threshold)

    def tiled(
        self,
        source: Source,
        task: Task | None = None,
        threshold: float | None = None,
        *,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> PictureResult:
        """Segment a picture of any size in tiles of `tile` x `tile` pixels, joined to one result.

        A tile is resized as a picture of its own would be. So objects look to the network as large
        as in training where a tile is as large as the training pictures were. By default a tile is
        as long as the short edge that pictures are resized to, and pixels stay as they are; an
        eighth of it overlaps. Without a threshold instances need the model's `show_threshold`.
        """
        image, name = read_source(source, self.channels)
        tiling = Tiling.of(tile or self.card.config.test.short_edge, overlap)
        return self.answer(image, name, task, threshold, tiling)

    def segment_tiles(
        self, image: np.ndarray, task: Task, threshold: float | None, tiling: Tiling
    ) -> Result:
        """The plain result of a picture in tiles."""
        test = self.card.config.test
        if threshold is None and task == "instance":
            threshold = test.show_threshold
        # Where the picture is narrower than a tile, its part of one is seen at the same scale.
        whole = shorten((tiling.side, tiling.side), test.short_edge, test.max_size)
        seen = [round(whole[0] * min(side / tiling.side, 1)) for side in image.shape[:2]]
        eyes = self.with_settings(
            f"test.short_edge={max(1, min(seen))}", f"test.max_size={max(1, *seen)}"
        )
        return segment_tiles(
            eyes, image, task, threshold, tiling=tiling, is_thing=self.categories.is_thing
        )

    def compile(self, backend: str = "inductor") -> Predictor:
        """Let PyTorch's compiler have the network, anew for every size of pictures; returns itself.

        Each size takes a while at first. It can pay on GPUs; on a CPU it gives up the ways of
        `mask2former.model.kernels.hasten` for the compiler's own.
        """
        if isinstance(self.model, ExportedNetwork):
            raise ValueError(
                "PyTorch's compiler cannot have an exported model; leave --compile out"
            )
        self.model.compile(backend=backend, dynamic=False)
        return self

    def with_settings(self, *overrides: str) -> Predictor:
        """The same network under other settings of `test`, as dotted overrides.

        Raises ValueError for any other setting: the network is what it is.
        """
        for setting in overrides:
            if not setting.startswith("test."):
                raise ValueError(f"'{setting}': only test.* can be set of a model that predicts")
        config = override_config(self.card.config, overrides, "the settings")
        changed = copy.copy(self)
        changed.card = replace(self.card, config=config)
        return changed

    def segment(self, image: np.ndarray, task: Task, threshold: float | None = None) -> Result:
        """The plain result for a uint8 picture (H, W, 3), or a video model's for (T, H, W, 3)."""
        test = self.card.config.test
        if image.ndim == 4 and not self.takes_clips:
            raise ValueError(
                "this model segments pictures and cannot follow objects through a clip; give it "
                "the frames as a list of pictures, or take a video model"
            )
        if task == "semantic" and test.tta is not None:
            return semantic_map_of_views(self.views(image, test.tta), self.score)
        return self.decide(*self.infer(image), task, threshold)

    def decide(
        self, prediction: Prediction, sizes: Sizes, task: Task, threshold: float | None = None
    ) -> Result:
        """The plain result that a task's rule makes of a prediction."""
        test = self.card.config.test
        match task:
            case "semantic":
                return semantic_map(prediction, sizes, self.score)
            case "instance":
                rule = tracks if self.takes_clips else instances
                found = rule(
                    prediction,
                    sizes,
                    is_thing=self.is_thing,
                    max_detections=test.max_detections,
                    threshold=threshold or 0.0,
                )
                return found if test.suppress is None else without_duplicates(found, test.suppress)
            case "panoptic":
                return panoptic(
                    prediction,
                    sizes,
                    is_thing=self.is_thing,
                    threshold=test.threshold if threshold is None else threshold,
                    overlap_threshold=test.overlap_threshold,
                )
        raise ValueError(f"no task '{task}'; choose {', '.join(get_args(Task))}")

    def infer(self, image: np.ndarray) -> tuple[Prediction, Sizes]:
        """The network's last prediction for a picture or clip, and the sizes it passed through."""
        test = self.card.config.test
        original = (image.shape[-3], image.shape[-2])
        network = self.fit(shorten(original, test.short_edge, test.max_size))
        return self.look(image, network), Sizes(network, original)

    def views(self, image: np.ndarray, tta: Tta) -> Iterator[View]:
        """What the network says of a picture at every size, and of its mirror images.

        As in detectron2 each is made from the picture as it is tested without views.
        """
        test = self.card.config.test
        original = (image.shape[-3], image.shape[-2])
        usual = resize(image, shorten(original, test.short_edge, test.max_size))
        longest = round(max(tta.scales) * test.max_size)
        for scale in tta.scales:
            short_edge = int(scale * test.short_edge + 0.5)
            network = self.fit(shorten(usual.shape[:2], short_edge, longest))
            for turn in TURNS[tta.flips]:
                yield View(self.look(usual, network, turn), Sizes(network, original), turn)

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of a picture made to fit into a network of one size, if it is one."""
        if self.size is None:
            return size
        scale = min(1.0, *(side / own for side, own in zip(self.size, size, strict=True)))
        height, width = (max(1, round(scale * own)) for own in size)
        return height, width

    @torch.inference_mode()
    def look(self, image: np.ndarray, size: tuple[int, int], turn: Turn = upright) -> Prediction:
        """The network's last prediction for a picture that is resized to `size` and turned."""
        prediction = self.model(self.prepare(image, size, turn))[-1]
        demand_numbers(prediction)
        return prediction

    def prepare(self, image: np.ndarray, size: tuple[int, int], turn: Turn = upright) -> Tensor:
        """What the network is given of a picture: resized, turned, padded; a batch of one."""
        frames = [resize(frame, size) for frame in image.reshape(-1, *image.shape[-3:])]
        resized = np.stack(frames).reshape(*image.shape[:-3], *size, image.shape[-1])
        pixels = turn(torch.from_numpy(resized).movedim(-1, -3))
        return pad_with_mean(pixels.to(self.device).float(), self.model.mean, self.size)[None]


def check_threshold(threshold: float, task: Task) -> None:
    """Raise ValueError where a threshold means nothing."""
    if task == "semantic":
        raise ValueError("a semantic map gives every pixel a class; leave the threshold out")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold {threshold:g}: a score is between 0 and 1, as 0.7")


def demand_numbers(prediction: Prediction) -> None:
    """Raise ValueError if there are NaNs: every rule would take them for "nothing is there"."""
    if not torch.stack([part.sum() for part in prediction]).isfinite().all():
        raise ValueError(
            "the network's output is not a number: look at the weights, the training has diverged"
        )


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture (H, W, C) as Pillow does; other than 8-bit RGB channel by channel."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    planes = (Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(image, 2, 0))
    resized = [np.asarray(plane.resize(size[::-1], Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(resized, axis=2)


def pad_with_mean(pixels: Tensor, mean: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Pad (..., 3, H, W) right and below with what normalising makes zero.

    To a size, or to multiples of 32.
    """
    height, width = size or [-(-side // STRIDE) * STRIDE for side in pixels.shape[-2:]]
    padded = mean.expand(*pixels.shape[:-2], height, width).clone()
    padded[..., : pixels.shape[-2], : pixels.shape[-1]] = pixels
    return padded


def load(model: str | Path, device: str = "auto") -> Predictor:
    """Load a model by name (`nuclei`), model folder, exported file or Hub id."""
    path = Path(model)
    if is_exported(path):  # runtimes have devices of their own
        network = load_exported(path, device)
        return Predictor(network, network.passport.card, torch.device("cpu"))
    chosen = choose_device(device)  # before anything is downloaded
    module, card = load_model(find_model(str(model)))
    return Predictor(module, card, chosen)
