"""The augmentation recipes of the paper's data sets, from torchvision v2 and three own parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from mask2former.structures import Sample

Size = tuple[int, int]
"""Height and width."""

Transform = Callable[[Sample], Sample]

Flips = Literal["none", "horizontal", "both", "turns"]
"""How pictures may be mirrored; `both` and `turns` (quarter turns too) suit cells and maps."""

PADDING = 128
"""The grey that training pictures are padded with (detectron2's mapper)."""


def large_scale_jitter(
    size: int | Size = 1024,
    scale: tuple[float, float] = (0.1, 2.0),
    flips: Flips = "horizontal",
    padding: Sequence[float] = (PADDING,),
) -> Transform:
    """Flip, resize to fit a random multiple of `size`, crop to it and pad (COCO's recipe)."""
    size = _as_size(size)
    return v2.Compose(
        [
            *_flips(flips),
            Resize(partial(_fit_randomly, box=size, scale=scale)),
            Crop(size, on_diagonal),
            PadRightBottom(size, padding),
            compact,
        ]
    )


def resize_and_crop(
    short_edges: Sequence[int],
    max_size: int,
    crop: Size | None,
    *,
    color: Sequence[Transform] = (),
    flips: Flips = "horizontal",
    padding: Sequence[float] = (PADDING,),
) -> Transform:
    """Resize the short edge to one of `short_edges`, crop, jitter the colours, flip and pad.

    The recipe of ADE20K, Cityscapes and Mapillary Vistas with `color=[Recolor(jitter)]`, and of
    YouTube-VIS with `crop=None`.
    """
    cropped = [] if crop is None else [Crop(crop, anywhere)]
    padded = [] if crop is None else [PadRightBottom(crop, padding)]
    return v2.Compose(
        [
            Resize(partial(_shorten_randomly, short_edges=short_edges, max_size=max_size)),
            *cropped,
            *color,
            *_flips(flips),
            *padded,
            compact,
        ]
    )


def resize_only(size: int | Size, padding: Sequence[float] = (PADDING,)) -> Transform:
    """Resize to fit `size` and pad, always alike."""
    size = _as_size(size)
    return v2.Compose(
        [Resize(partial(fit_inside, box=size)), PadRightBottom(size, padding), compact]
    )


class Resize:
    """Resize to what `target` says of the picture's size: antialiased picture, nearest ids."""

    def __init__(self, target: Callable[[Size], Size]) -> None:
        self.target = target

    def __call__(self, sample: Sample) -> Sample:
        old = _size(sample)
        new = self.target(old)
        if new == old:
            return sample
        image = F.resize(sample["image"], list(new), antialias=True)
        # The pixel under the new pixel's centre, as Pillow does; v2's own rule is shifted.
        rows, columns = (
            ((torch.arange(n) + 0.5) * (o / n)).long().clamp(max=o - 1)
            for n, o in zip(new, old, strict=True)
        )
        ids = sample["ids"].as_subclass(Tensor)[..., rows[:, None], columns]
        return _replaced(sample, image, ids)


class Crop:
    """Crop to `size`, or to the picture where that is smaller; `place` draws the corner."""

    def __init__(self, size: Size, place: Callable[[int, int], Size]) -> None:
        self.size = size
        self.place = place

    def __call__(self, sample: Sample) -> Sample:
        height, width = _size(sample)
        new_height, new_width = min(height, self.size[0]), min(width, self.size[1])
        top, left = self.place(height - new_height, width - new_width)
        window = (..., slice(top, top + new_height), slice(left, left + new_width))
        return _replaced(sample, sample["image"][window], sample["ids"][window])


class PadRightBottom:
    """Pad to `size` at the right and the bottom: the picture with a colour, the ids with nobody."""

    def __init__(self, size: Size, color: Sequence[float] = (PADDING,)) -> None:
        self.size = size
        self.color = [float(value) for value in color]

    def __call__(self, sample: Sample) -> Sample:
        height, width = _size(sample)
        sides = [0, 0, max(self.size[1] - width, 0), max(self.size[0] - height, 0)]
        if not any(sides):
            return sample
        image = sample["image"]
        bytewise = image.dtype == torch.uint8
        color = [float(round(value)) for value in self.color] if bytewise else self.color
        image = F.pad(image, sides, fill=color)
        return _replaced(sample, image, F.pad(sample["ids"], sides, fill=0))


class RandomTranspose:
    """Swap rows and columns of every second picture; with both flips, all eight positions."""

    def __call__(self, sample: Sample) -> Sample:
        if torch.rand(()) < 0.5:
            return sample
        return _replaced(sample, sample["image"].mT, sample["ids"].mT)


class Recolor:
    """Change the colours of 8-bit RGB by a function of (..., 3, H, W); leave other pictures."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.change = change

    def __call__(self, sample: Sample) -> Sample:
        pixels = sample["image"].as_subclass(Tensor)
        if pixels.dtype != torch.uint8 or pixels.shape[-3] != 3:
            return sample
        return _replaced(sample, self.change(pixels), sample["ids"])


def compact(sample: Sample) -> Sample:
    """Drop ids without a pixel, number the rest 1..N in their order, and drop empty layers."""
    ids, labels = sample["ids"].as_subclass(Tensor), sample["labels"]
    present = torch.bincount(ids.flatten(), minlength=labels.shape[0] + 1)[1:] > 0
    renumbered = torch.zeros(labels.shape[0] + 1, dtype=ids.dtype)
    renumbered[1:] = torch.where(present, present.cumsum(0), 0)
    used = ids.flatten(1).any(dim=1)
    used[0] |= not used.any()  # a picture without objects keeps one layer
    return Sample(
        image=sample["image"],
        ids=tv_tensors.Mask(renumbered[ids[used]]),
        labels=labels[present],
        name=sample["name"],
    )


def fit_inside(picture: Size, box: Size, scale: float = 1.0) -> Size:
    """The largest size of the picture's shape inside `scale` times the box."""
    ratio = min(scale * side / own for side, own in zip(box, picture, strict=True))
    return _rounded(picture, ratio)


def shorten(picture: Size, short_edge: int, max_size: int) -> Size:
    """The picture's size with a short edge of `short_edge`, or a long one of `max_size` if less.

    In two steps, as detectron2's ResizeShortestEdge: sides that end in a half are rounded alike.
    """
    shorter = min(picture)
    sides = [short_edge if side == shorter else short_edge / shorter * side for side in picture]
    longest = max(sides)
    if longest > max_size:
        sides = [side * (max_size / longest) for side in sides]
    height, width = (max(int(side + 0.5), 1) for side in sides)
    return height, width


def on_diagonal(slack_height: int, slack_width: int) -> Size:
    """A corner at one random fraction of both slacks (detectron2's FixedSizeCrop)."""
    fraction = _uniform(0, 1)
    return round(fraction * slack_height), round(fraction * slack_width)


def anywhere(slack_height: int, slack_width: int) -> Size:
    """A corner at independent random places (detectron2's RandomCrop)."""
    return _integer(0, slack_height), _integer(0, slack_width)


def _fit_randomly(picture: Size, box: Size, scale: tuple[float, float]) -> Size:
    return fit_inside(picture, box, _uniform(*scale))


def _shorten_randomly(picture: Size, short_edges: Sequence[int], max_size: int) -> Size:
    return shorten(picture, short_edges[_integer(0, len(short_edges) - 1)], max_size)


def _flips(flips: Flips) -> list[Any]:
    match flips:
        case "none":
            return []
        case "horizontal":
            return [v2.RandomHorizontalFlip()]
        case "both":
            return [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
        case "turns":
            return [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), RandomTranspose()]
    raise ValueError(f"flips must be none, horizontal, both or turns, not '{flips}'")


def _size(sample: Sample) -> Size:
    height, width = sample["image"].shape[-2:]
    return height, width


def _as_size(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _rounded(picture: Size, ratio: float) -> Size:
    height, width = (max(int(side * ratio + 0.5), 1) for side in picture)
    return height, width


def _replaced(sample: Sample, image: Tensor, ids: Tensor) -> Sample:
    return Sample(
        image=tv_tensors.Video(image),
        ids=tv_tensors.Mask(ids),
        labels=sample["labels"],
        name=sample["name"],
    )


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))
