"""Winograd's way to convolve is the same function as PyTorch's, forwards and backwards."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mask2former.model.kernels.convolutions import Winograd, quicken_convolutions

winograd = pytest.importorskip("mask2former.model.kernels.winograd")

SIZES = [(1, 1), (3, 9), (4, 8), (5, 33), (64, 70)]


def make(*, bias: bool = True, inputs: int = 32, outputs: int = 40) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def quicken(convolution: nn.Conv2d) -> nn.Conv2d:
    quick = copy.deepcopy(convolution)
    quicken_convolutions(quick)
    return quick


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_convolution_is_that_of_doubles(size, layout):
    convolution = make()
    x = torch.randn(2, 32, *size).contiguous(memory_format=layout)
    found = winograd.convolve(x, convolution.weight, convolution.bias).permute(0, 3, 1, 2)
    expected = convolution.double()(x.double())
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_rounding_stays_small_with_many_channels():
    x, weight = torch.randn(1, 256, 64, 64).relu(), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    found = winograd.convolve(x, weight, None)
    error = found.permute(0, 3, 1, 2) - exact
    assert error.square().mean().sqrt() < 3e-6 * exact.square().mean().sqrt()
    assert error.abs().max() < 1e-5 * exact.abs().max()


def test_gradient_of_the_input_is_a_convolution_turned_around():
    x, weight = torch.randn(1, 3, 5, 6).double(), torch.randn(2, 3, 3, 3).double()
    x.requires_grad_()
    above = torch.randn(1, 2, 5, 6).double()
    F.conv2d(x, weight, padding=1).backward(above)
    found = Winograd().by_input(above, x, weight)
    torch.testing.assert_close(found, x.grad)


@torch.no_grad()
def test_changed_weights_are_seen():
    convolution = make()
    quick, x = quicken(convolution), torch.randn(1, 32, 32, 32)
    for change in (lambda w: w, torch.neg_, lambda w: w.data.mul_(2)):
        for module in (convolution, quick):
            change(module.weight)
        torch.testing.assert_close(quick(x), convolution(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_nan_stays_near_its_place():
    x = torch.randn(1, 32, 32, 32)
    x[0, 5, 10, 10] = torch.nan
    found = quicken(make())(x)
    assert found[..., 9:12, 9:12].isnan().all()
    assert found[..., 16:, :].isfinite().all()


@pytest.mark.parametrize(
    ("convolution", "size", "pays"),
    [
        (nn.Conv2d(32, 32, 3, padding=1), 32, True),
        (nn.Conv2d(32, 128, 3, padding=1), 32, False),
        (nn.Conv2d(32, 32, 3, padding=1), 16, False),
        (nn.Conv2d(32, 32, 3, padding=1, stride=2), 64, False),
        (nn.Conv2d(32, 32, 3, padding=1, groups=2), 64, False),
        (nn.Conv2d(32, 32, 3, padding=2, dilation=2), 64, False),
        (nn.Conv2d(32, 32, 3), 64, False),
        (nn.Conv2d(32, 32, 5, padding=2), 64, False),
        (nn.Conv2d(3, 32, 3, padding=1), 64, False),
    ],
)
def test_it_pays_for_large_maps_of_many_channels(convolution, size, pays):
    assert winograd.pays(convolution, torch.empty(1, convolution.in_channels, size, size)) == pays


@torch.no_grad()
def test_pictures_and_threads_do_not_change_one_another():
    quick, x = quicken(make()), torch.randn(3, 32, 40, 24)
    together = quick(x)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(quick(x), together, rtol=0, atol=1e-6)
    finally:
        torch.set_num_threads(before)
    for one, picture in zip(together, x, strict=True):
        torch.testing.assert_close(quick(picture[None])[0], one, rtol=0, atol=1e-6)
