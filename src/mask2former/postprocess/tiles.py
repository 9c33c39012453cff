"""Masks become pixels, one tile of the picture at a time, and only those that may matter there.

Enlarging is bilinear, in the official two steps: to the padded input's size, cut to the network's,
then to the picture's. Bilinear enlarging is a matrix product along each side, and so are both steps
together: a tile is a few rows' matrix x the small mask x a few columns' matrix. As the weights are
not negative and add up to 1, the smallest and the largest value that a tile blends bound its
pixels, which tells which masks can be left out without changing the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

from mask2former.structures import Prediction, Sizes

TILE_PIXELS = {"cpu": 600_000, "cuda": 32_000_000, "mps": 32_000_000}
"""How many mask pixels are made at a time (four bytes each): on a CPU its cache holds them, on an
accelerator there are enough to keep it busy."""
LONGEST = 256
"""Pixels of a tile's side at most: what a longer one blends is more than a few rows."""
SLACK = 1e-5
"""More than rounding can move a probability past its bounds."""


class Side(NamedTuple):
    """Some rows (or columns) of the picture, and how they blend those of the two smaller sizes."""

    picture: slice
    features: slice
    to_input: Tensor  # (features, input): of the small mask -> of the network's input
    to_picture: Tensor  # (input, picture)
    whole: Tensor  # (features, picture): both steps

    @classmethod
    def of(cls, picture: slice, features: int, network: int, original: int) -> Side:
        """The matrices of some rows, for a whole side's lengths at the three sizes."""
        near, to_picture = _blend(picture, network, original)
        read, to_input = _blend(near, features, 4 * features)
        return cls(picture, read, to_input, to_picture, to_input @ to_picture)

    def to(self, device: torch.device) -> Side:
        """The same with its matrices on `device`."""
        return Side(*self[:2], *(matrix.to(device) for matrix in self[2:]))


class Tile(NamedTuple):
    """A rectangle of a frame."""

    rows: Side
    columns: Side
    small: Tensor  # (Q, rows, columns): the logits that its pixels blend

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The probabilities (Q,) that no pixel of a mask is below or above, but for rounding."""
        low, high = self.small.flatten(1).aminmax(dim=1)
        return low.sigmoid(), high.sigmoid()

    def logits(self, queries: Tensor | None = None) -> Tensor:
        """The mask logits of some queries (all) at the picture's size."""
        small = self.small if queries is None else self.small[queries]
        return _enlarge(small, self.rows.whole, self.columns.whole)

    def input_logits(self) -> Tensor:
        """All mask logits at the network's input size, where this tile blends them."""
        return _enlarge(self.small, self.rows.to_input, self.columns.to_input)

    def restore(self, maps: Tensor) -> Tensor:
        """Maps like `input_logits` at the picture's size."""
        return _enlarge(maps, self.rows.to_picture, self.columns.to_picture)


class Strip(NamedTuple):
    """Some rows of a frame, over its whole width."""

    frame: int
    rows: Side
    columns: list[Side]
    small: Tensor  # (Q, rows, all columns): the logits that its pixels blend

    def tiles(self) -> Iterator[Tile]:
        """The strip from left to right."""
        for columns in self.columns:
            yield Tile(self.rows, columns, self.small[..., columns.features])


def cut(
    prediction: Prediction, sizes: Sizes, *, queries: Tensor | None = None, maps: int = 1
) -> Iterator[Strip]:
    """A picture's masks, or a clip's (batch of 1), strip after strip and frame after frame.

    `queries` are those that matter, by default all. The tiles are so small that neither they nor
    as many `maps` of their size take much memory.
    """
    embeddings = prediction.mask_embeddings[0].float()
    features = prediction.mask_features[0]  # (T, C, h, w)
    embeddings = embeddings if queries is None else embeddings[queries]
    pixels = TILE_PIXELS[features.device.type] // max(1, maps, embeddings.shape[0])
    longest = min(LONGEST, isqrt(pixels))
    rows, columns = (
        [side.to(features.device) for side in _cut_side(longest, *lengths)]
        for lengths in zip(features.shape[2:], *sizes, strict=True)
    )
    for frame, channels in enumerate(features):
        for side in rows:
            small = torch.einsum("qc,chw->qhw", embeddings, channels[:, side.features].float())
            yield Strip(frame, side, columns, small)


def _cut_side(longest: int, features: int, network: int, original: int) -> Iterator[Side]:
    """A side in pieces that are not longer at the network's size either."""
    step = max(1, int(longest * min(1.0, original / network)))
    for first in range(0, original, step):
        last = min(first + step, original)
        yield Side.of(slice(first, last), features, network, original)


def find_positive(small: Tensor) -> Tensor:
    """The masks that may be above 0 in a strip or tile; all others certainly are not."""
    return (small.flatten(1).amax(1) > 0).nonzero()[:, 0]


def first_largest(maps: Tensor) -> Tensor:
    """Where along the first dimension the largest value is: argmax(0), many times as fast on CPUs.

    NaN, which equals nothing, gives the last place.
    """
    last = maps.shape[0] - 1
    rank = torch.arange(last, -1, -1, dtype=torch.int16, device=maps.device)[:, None, None]
    return last - ((maps == maps.amax(0)) * rank).amax(0).long()


def _blend(wanted: slice, old: int, new: int) -> tuple[slice, Tensor]:
    """The rows of `old` that the `wanted` of `new` blend, and their weights (read, wanted).

    Placed as F.interpolate does it with align_corners=False.
    """
    rows = torch.arange(wanted.start, wanted.stop, dtype=torch.float32)
    places = ((rows + 0.5) * (old / new) - 0.5).clamp(0, old - 1)
    read = slice(int(places[0]), int(places[-1].ceil()) + 1)
    distance = places - torch.arange(read.start, read.stop)[:, None]
    return read, (1 - distance.abs()).clamp(min=0)


def _enlarge(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Blend (N, rows, columns) maps along both sides."""
    return (rows.T @ maps) @ columns
