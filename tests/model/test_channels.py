"""A first layer fitted to other channels answers pictures alike in all of them as before."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mask2former.model.backbone import TimmBackbone, load_tensors
from mask2former.model.channels import fit_channels
from mask2former.model.swin import Swin, load_imagenet_tensors


@pytest.mark.parametrize(("old", "new"), [(3, 4), (3, 5), (3, 13), (3, 1), (3, 2), (4, 3), (1, 4)])
def test_equal_channels_give_the_response_of_before(old: int, new: int) -> None:
    given = torch.randn(8, old, 3, 3)
    fitted = fit_channels(given, torch.empty(8, new, 3, 3))
    grey = torch.randn(2, 1, 9, 9)
    before = F.conv2d(grey.expand(-1, old, -1, -1), given)
    torch.testing.assert_close(F.conv2d(grey.expand(-1, new, -1, -1), fitted), before)
    if new > old:  # the known channels keep their filters, but for one factor
        torch.testing.assert_close(fitted[:, :old], given * (old / new))


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (8, 3), (9, 4, 3, 3), (8, 4, 5, 5), (8,)])
def test_other_tensors_stay(shape: tuple[int, ...]) -> None:
    given = torch.randn(shape)
    assert fit_channels(given, torch.empty(8, 3, 3, 3)) is given


def test_weights_of_a_backbone_are_fitted() -> None:
    rgb, four = TimmBackbone("resnet18"), TimmBackbone("resnet18", in_channels=4)
    load_tensors(four.body, rgb.body.state_dict(), "the tests")
    grey = torch.randn(1, 1, 64, 64)
    agree(rgb.eval(), four.eval(), grey)


def test_weights_of_a_swin_are_fitted() -> None:
    small = {"embed_dim": 12, "depths": (1, 1, 1, 1), "heads": (1, 2, 3, 4), "drop_path": 0.0}
    rgb = Swin(**small)
    four = Swin(**small, in_channels=4)
    load_imagenet_tensors(four, rgb.state_dict(), "the tests")
    agree(rgb.eval(), four.eval(), torch.randn(1, 1, 64, 64))


def agree(rgb: nn.Module, four: nn.Module, grey: torch.Tensor) -> None:
    with torch.no_grad():
        expected, found = rgb(grey.repeat(1, 3, 1, 1)), four(grey.repeat(1, 4, 1, 1))
    for stride, maps in expected.items():
        torch.testing.assert_close(found[stride], maps, atol=1e-4, rtol=1e-4)
