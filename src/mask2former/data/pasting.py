"""Objects of one training picture pasted into another."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors

from mask2former.data.transforms import compact
from mask2former.structures import Sample


def paste(sample: Sample, other: Sample, single: Collection[int] = ()) -> Sample:
    """Paste every region of `other`, object or stuff, with chance 1/2 over a picture or clip.

    Copy-Paste (Ghiasi et al., CVPR 2021) where regions are objects; ClassMix (Olsson et al., WACV
    2021) where they are stuff. Both keep their places, from the top left corner; what lies outside
    of `sample` is cut off, what is covered is gone, and nobody's pixels are never pasted. A picture
    has one region at most of the labels in `single`, stuff: what is pasted joins it.
    """
    pixels, ids = sample["image"].as_subclass(Tensor), sample["ids"].as_subclass(Tensor)
    own = sample["labels"].tolist()
    numbers = [0]  # of their ids: 0, a new one, or that of our region of the same kind
    for place, label in enumerate(other["labels"].tolist(), start=1):
        is_chosen = torch.rand(()) < 0.5
        number = own.index(label) + 1 if label in single and label in own else len(own) + place
        numbers.append(number if is_chosen else 0)
    theirs = _fit(other["ids"].as_subclass(Tensor), ids.shape[1:]).long()
    theirs = torch.tensor(numbers, dtype=ids.dtype)[theirs]
    above = theirs.any(dim=0)
    layers = max(ids.shape[0], theirs.shape[0])
    merged = torch.where(above, _with_layers(theirs, layers), _with_layers(ids, layers))
    new = _fit(other["image"].as_subclass(Tensor).movedim(-3, 0), ids.shape[1:]).movedim(0, -3)
    return compact(
        Sample(
            image=tv_tensors.Video(torch.where(above[:, None], new, pixels)),
            ids=tv_tensors.Mask(merged),
            labels=torch.cat([sample["labels"], other["labels"]]),
            name=sample["name"],
        )
    )


def _fit(tensor: Tensor, size: torch.Size) -> Tensor:
    """Make the last three axes as long as `size`: cut off at their ends, or filled with zeros."""
    sides = [(0, want - have) for want, have in zip(size, tensor.shape[-3:], strict=True)]
    return F.pad(tensor, [end for side in reversed(sides) for end in side])


def _with_layers(ids: Tensor, layers: int) -> Tensor:
    return F.pad(ids, [0, 0, 0, 0, 0, 0, 0, layers - ids.shape[0]])
