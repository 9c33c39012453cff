"""Every plain type that is passed between the rooms of the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

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
class Instances:
    """Scored masks, best first; they may overlap. Eight pixels are packed into a byte."""

    bits: np.ndarray  # (N, ceil(T * H * W / 8)) uint8
    labels: np.ndarray  # (N,) int64
    scores: np.ndarray  # (N,) float32
    size: tuple[int, int, int]  # T, H, W

    @cached_property
    def masks(self) -> np.ndarray:
        """The masks as (N, T, H, W) bool."""
        frames, height, width = self.size
        pixels = np.unpackbits(self.bits, axis=1, count=frames * height * width)
        return pixels.view(bool).reshape(-1, frames, height, width)

    def mask(self, index: int) -> np.ndarray:
        """One mask as (T, H, W) bool, without unpacking the others."""
        frames, height, width = self.size
        pixels = np.unpackbits(self.bits[index], count=frames * height * width)
        return pixels.view(bool).reshape(self.size)

    def select(self, keep: np.ndarray) -> Instances:
        """The instances that `keep` (indices or a bool mask) names, in its order."""
        return Instances(self.bits[keep], self.labels[keep], self.scores[keep], self.size)


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
