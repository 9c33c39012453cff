"""Convolutions by half the products are the same function."""

import pytest
import torch
from torch import nn

from mask2former.model.kernels.halved import halve_convolutions


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 43)])
def test_halved_convolution_equals_the_plain_one(bias, height, width):
    convolution = nn.Conv2d(40, 32, 3, padding=1, bias=bias)
    x = 10 * torch.randn(2, 40, height, width)
    with torch.no_grad():
        expected = convolution(x)
        assert halve_convolutions(nn.Sequential(convolution), x) == 1
        torch.testing.assert_close(convolution(x), expected, atol=1e-4, rtol=1e-4)
        assert not torch.equal(convolution(x), expected)  # it was another way


@pytest.mark.parametrize(
    ("convolution", "size"),
    [
        (nn.Conv2d(32, 32, 3, padding=1, stride=2), (64, 64)),
        (nn.Conv2d(32, 32, 3, padding=1, groups=32), (64, 64)),
        (nn.Conv2d(32, 32, 1), (64, 64)),
        (nn.Conv2d(32, 32, 3, padding=2, dilation=2), (64, 64)),
        (nn.Conv2d(16, 32, 3, padding=1), (64, 64)),  # too narrow
        (nn.Conv2d(32, 32, 3, padding=1), (8, 8)),  # too small
        (nn.Conv2d(32, 32, 3, padding=1), (62, 64)),  # rows not in fours
    ],
)
def test_others_stay_as_they_are(convolution, size):
    x = torch.randn(1, convolution.in_channels, *size)
    assert halve_convolutions(nn.Sequential(convolution), x) == 0
