"""Winograd's way to convolve is the same function as PyTorch's, forwards and backwards."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

winograd = pytest.importorskip("mask2former.model.winograd")

SIZES = [(1, 1), (3, 9), (4, 8), (5, 33), (64, 70)]


def make(*, bias: bool = True, inputs: int = 32, outputs: int = 40) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def quicken(convolution: nn.Conv2d) -> nn.Conv2d:
    quick = copy.deepcopy(convolution)
    winograd.convolve_by_winograd(quick)
    return quick


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_convolution_is_that_of_doubles(size, layout):
    convolution = make()
    x = torch.randn(2, 32, *size).contiguous(memory_format=layout)
    factors = winograd.transform_weight(convolution.weight)
    found = winograd.convolve(x, factors, convolution.bias)
    expected = convolution.double()(x.double())
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_rounding_stays_small_with_many_channels():
    x, weight = torch.randn(1, 256, 64, 64).relu(), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error = winograd.convolve(x, winograd.transform_weight(weight), None) - exact
    assert error.square().mean().sqrt() < 3e-6 * exact.square().mean().sqrt()
    assert error.abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_pytorch(bias):
    plain = make(bias=bias)
    quick = quicken(plain)
    inputs = [torch.randn(1, 32, 28, 31, requires_grad=True) for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    above = torch.randn(1, 40, 28, 31)
    for convolution, x in zip((plain, quick), inputs, strict=True):
        convolution(x).backward(above)
    pairs = [(x.grad for x in inputs), (c.weight.grad for c in (plain, quick))]
    if bias:
        pairs.append(c.bias.grad for c in (plain, quick))
    for expected, found in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_function_has_the_gradients_of_its_differences():
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def convolve(x, weight, bias):
        factors = winograd.transform_weight(weight.detach())
        return winograd.Convolution.apply(x, weight, bias, factors)

    assert torch.autograd.gradcheck(convolve, (x, weight, bias))


@torch.no_grad()
def test_changed_weights_are_seen():
    convolution = make()
    quick, x = quicken(convolution), torch.randn(1, 32, 32, 32)
    for change in (lambda w: w, torch.neg_, lambda w: w.data.mul_(2)):
        for module in (convolution, quick):
            change(module.weight)
        torch.testing.assert_close(quick(x), convolution(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_weights_of_inference_are_seen_to_change():
    convolution = make()
    quick, x = quicken(convolution), torch.randn(1, 32, 32, 32)
    for module in (convolution, quick):
        module.weight = nn.Parameter(torch.ones(40, 32, 3, 3), requires_grad=False)
    first = quick(x)
    quick.weight.mul_(2)
    convolution.weight.mul_(2)
    torch.testing.assert_close(quick(x), convolution(x), rtol=1e-4, atol=1e-3)
    assert not torch.equal(first, quick(x))


@torch.no_grad()
def test_a_nan_stays_near_its_place():
    x = torch.randn(1, 32, 32, 32)
    x[0, 5, 10, 10] = torch.nan
    found = quicken(make())(x)
    assert found[..., 9:12, 9:12].isnan().all()
    assert found[..., 16:, :].isfinite().all()


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.Conv2d(3, 32, 3, padding=1),
    ],
)
@torch.no_grad()
def test_other_convolutions_stay_as_they_are(convolution):
    x = torch.randn(1, convolution.in_channels, 32, 32)
    torch.testing.assert_close(quicken(convolution)(x), convolution(x), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize(("size", "dtype"), [(8, torch.float32), (32, torch.bfloat16)])
def test_small_maps_and_other_precisions_take_the_plain_way(size, dtype):
    convolution = make().to(dtype)
    x = torch.randn(1, 32, size, size, dtype=dtype)
    torch.testing.assert_close(quicken(convolution)(x), convolution(x), rtol=0, atol=0)


@torch.no_grad()
def test_autocast_takes_the_plain_way():
    convolution, x = make(), torch.randn(1, 32, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert quicken(convolution)(x).dtype == torch.bfloat16


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


@torch.no_grad()
def test_copies_and_names_stay_whole():
    convolution = make()
    quick = quicken(convolution)
    assert quick.state_dict().keys() == convolution.state_dict().keys()
    x = torch.randn(1, 32, 32, 32)
    expected, twin = quick(x), copy.deepcopy(quick)
    quick.weight.zero_()
    torch.testing.assert_close(twin(x), expected)
