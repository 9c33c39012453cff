"""Every plain type that is passed between the rooms of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from mask2former.machine import free_memory

IGNORE = -1
"""The label of pixels that nobody counts, in `Truth.semantic` and in `SemanticMap`."""
STRIDE = 32
"""The sides of what the network is given are multiples of its largest stride."""


class Sample(TypedDict):
    """One picture (T = 1) or clip on its way through the transforms.

    `ids` holds a tv_tensors Mask, so that flips and crops move picture and truth together. The id 0
    is nobody; an object keeps its id through all frames and lives in exactly one of the L layers
    (more than one layer is needed only where objects overlap). `labels[i]` is of the id i + 1.
    """

    image: Tensor  # Video (T, 3, H, W) uint8, RGB
    ids: Tensor  # Mask (L, T, H, W) int32
    labels: Tensor  # (N,) int64
    name: str


class Targets(NamedTuple):
    """The truth of one picture or clip in a batch, as the loss reads it."""

    ids: Tensor  # (L, T, H, W) int
    labels: Tensor  # (N,) int64; of the ids 1..N


class Batch(NamedTuple):
    """Samples of one size, stacked."""

    images: Tensor  # (B, T, 3, H, W) uint8, RGB
    targets: list[Targets]
    names: list[str]

    def to(self, device: torch.device) -> Batch:
        """Move every tensor to `device`."""
        targets = [
            Targets(t.ids.to(device, non_blocking=True), t.labels.to(device, non_blocking=True))
            for t in self.targets
        ]
        return Batch(self.images.to(device, non_blocking=True), targets, self.names)


class PixelFeatures(NamedTuple):
    """What the pixel decoder says of every pixel."""

    mask_features: Tensor  # (B, T, C, H/4, W/4)
    pyramid: dict[int, Tensor]  # stride -> (B, T, C, H/stride, W/stride)


class Prediction(NamedTuple):
    """A set of (class, mask) pairs; the masks stay products until somebody needs pixels."""

    class_logits: Tensor  # (B, Q, K + 1), no-object last
    mask_embeddings: Tensor  # (B, Q, C)
    mask_features: Tensor  # (B, T, C, H/4, W/4)

    def mask_logits(self) -> Tensor:
        """Multiply the masks out: (B, Q, T, H/4, W/4)."""
        batch, frames, channels, height, width = self.mask_features.shape
        pixels = self.mask_features.transpose(1, 2).reshape(batch, channels, -1)
        return (self.mask_embeddings @ pixels).unflatten(-1, (frames, height, width))


class Match(NamedTuple):
    """Which query answers for which object of one picture: two index tensors of one length."""

    queries: Tensor  # (M,) int64
    objects: Tensor  # (M,) int64


class Sizes(NamedTuple):
    """The two sizes a mask passes through on its way back to the picture, each (height, width)."""

    network: tuple[int, int]  # the resized picture inside the padded input
    original: tuple[int, int]


class Segment(NamedTuple):
    """One region of a panoptic map."""

    id: int
    label: int
    score: float
    area: int  # pixels, over all frames
    is_thing: bool


@dataclass(frozen=True)
class SemanticMap:
    """One class per pixel."""

    labels: np.ndarray  # (T, H, W) int16


@dataclass(frozen=True)
class Panoptic:
    """One segment per pixel; 0 is void."""

    ids: np.ndarray  # (T, H, W) int32
    segments: list[Segment]


@dataclass(frozen=True)
class BoxedMask:
    """One object's mask inside its box, eight pixels a byte; outside the box nothing is on."""

    corner: tuple[int, int, int]  # first frame, top, left
    size: tuple[int, int, int]  # T, H, W of the box; zeros where nothing is on
    bits: np.ndarray  # (ceil(T * H * W / 8),) uint8

    @classmethod
    def of(cls, mask: np.ndarray, corner: tuple[int, int, int] = (0, 0, 0)) -> BoxedMask:
        """Pack a mask (T, H, W) bool whose first pixel lies at `corner`; empty margins are cut."""
        places = [np.flatnonzero(mask.any(axis)) for axis in ((1, 2), (0, 2), (0, 1))]
        if not places[0].size:
            return cls((0, 0, 0), (0, 0, 0), np.zeros(0, np.uint8))
        inner = tuple(slice(place[0], place[-1] + 1) for place in places)
        frame, top, left = (int(c + part.start) for c, part in zip(corner, inner, strict=True))
        return cls((frame, top, left), mask[inner].shape, np.packbits(mask[inner]))

    @classmethod
    def union(cls, masks: Sequence[BoxedMask]) -> BoxedMask:
        """What is on in any of the masks."""
        shown = [mask for mask in masks if mask.bits.size]
        if len(shown) < 2:
            return shown[0] if shown else cls.of(np.zeros((1, 1, 1), bool))
        first = np.min([mask.corner for mask in shown], axis=0)
        last = np.max([np.add(mask.corner, mask.size) for mask in shown], axis=0)
        canvas = np.zeros(last - first, bool)
        for mask in shown:
            canvas[mask.window(first)] |= mask.pixels
        frame, top, left = first.tolist()
        return cls.of(canvas, (frame, top, left))

    @property
    def pixels(self) -> np.ndarray:
        """The mask inside the box, (T, H, W) bool."""
        count = math.prod(self.size)
        return np.unpackbits(self.bits, count=count).view(bool).reshape(self.size)

    @cached_property
    def area(self) -> int:
        """How many pixels are on."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    def window(self, first: Sequence[int] | np.ndarray = (0, 0, 0)) -> tuple[slice, ...]:
        """Where the box lies in an array (T, H, W) whose first pixel is at `first`."""
        starts = [int(c - f) for c, f in zip(self.corner, first, strict=True)]
        return tuple(slice(s, s + n) for s, n in zip(starts, self.size, strict=True))

    def moved(self, down: int, right: int) -> BoxedMask:
        """The same farther down and right."""
        frame, top, left = self.corner
        return BoxedMask((frame, top + down, left + right), self.size, self.bits)


@dataclass(frozen=True)
class Instances:
    """Scored masks, best first; they may overlap."""

    boxed: Sequence[BoxedMask]  # N
    labels: np.ndarray  # (N,) int64
    scores: np.ndarray  # (N,) float32
    size: tuple[int, int, int]  # T, H, W

    @classmethod
    def of_masks(cls, masks: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Instances:
        """Pack masks (N, T, H, W) bool."""
        return cls([BoxedMask.of(mask) for mask in masks], labels, scores, masks.shape[1:])

    @cached_property
    def masks(self) -> np.ndarray:
        """The masks as (N, T, H, W) bool; ValueError where they are more than the memory."""
        room, memory = len(self.boxed) * math.prod(self.size), free_memory(torch.device("cpu"))
        if room > memory:
            raise ValueError(
                f"{len(self.boxed)} masks of {self.size[2]} x {self.size[1]} pixels need "
                f"{room / 1e9:.0f} GB and {memory / 1e9:.0f} are free; take them one by one with "
                "`mask(index)`, or inside their boxes with `boxed`"
            )
        masks = np.zeros((len(self.boxed), *self.size), bool)
        for mask, boxed in zip(masks, self.boxed, strict=True):
            mask[boxed.window()] = boxed.pixels
        return masks

    def mask(self, index: int) -> np.ndarray:
        """One mask as (T, H, W) bool, without unpacking the others."""
        mask = np.zeros(self.size, bool)
        mask[self.boxed[index].window()] = self.boxed[index].pixels
        return mask

    def select(self, keep: np.ndarray) -> Instances:
        """The instances that `keep` (indices or a bool mask) names, in its order."""
        chosen = np.arange(len(self.boxed))[keep].tolist()
        boxed = [self.boxed[index] for index in chosen]
        return Instances(boxed, self.labels[keep], self.scores[keep], self.size)


Result = SemanticMap | Instances | Panoptic


class TrueSegment(NamedTuple):
    """One annotated region of a panoptic map."""

    id: int
    label: int
    area: int
    is_crowd: bool


class TrueInstance(NamedTuple):
    """One annotated object: `rle` is a COCO run-length encoding with bytes or str counts."""

    rle: dict
    label: int
    area: float
    is_crowd: bool


@dataclass(frozen=True)
class Truth:
    """What the annotators said of one picture at its original size, as the metrics read it.

    A field is None where the annotation cannot say it (a label map knows no instances).
    """

    size: tuple[int, int]  # height, width
    semantic: np.ndarray | None = None  # (H, W) int16, IGNORE where nobody counts
    instances: list[TrueInstance] | None = None
    panoptic: np.ndarray | None = None  # (H, W) int32, 0 = void
    segments: list[TrueSegment] = field(default_factory=list)
    void: np.ndarray | None = None  # (H, W) bool: of no class, where detections are forgiven
