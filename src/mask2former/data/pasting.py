"""Objects of one training picture pasted into another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors

from mask2former.data.transforms import compact
from mask2former.structures import Sample


def paste(sample: Sample, other: Sample) -> Sample:
    """Paste every region of `other`, object or stuff, with chance 1/2 over a picture or clip.

    Copy-Paste (Ghiasi et al., CVPR 2021) where regions are objects; ClassMix (Olsson et al., WACV
    2021) where they are stuff. Both keep their places, from the top left corner; what lies outside
    of `sample` is cut off, what is covered is gone, and nobody's pixels are never pasted.
    """
    pixels, ids = sample["image"].as_subclass(Tensor), sample["ids"].as_subclass(Tensor)
    known = sample["labels"].shape[0]
    chosen = torch.rand(other["labels"].shape[0] + 1) < 0.5
    chosen[0] = False
    theirs = _fit(other["ids"].as_subclass(Tensor), ids.shape[1:])
    theirs = torch.where(chosen[theirs], theirs + known, 0)
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
