"""Every way to convolve is PyTorch's function, forwards and backwards, scaled or not."""

import copy

import pytest
import torch
from torch import nn

from mask2former.model.kernels import convolutions
from mask2former.model.kernels.convolutions import (
    Direct,
    Pointwise,
    Winograd,
    convolve_scaled,
    quicken_convolutions,
)

CONVOLUTIONS = {
    "pointwise": nn.Conv2d(32, 40, 1),
    "pointwise without bias": nn.Conv2d(32, 40, 1, bias=False),
    "pointwise with a stride": nn.Conv2d(32, 40, 1, stride=(2, 3)),
    "3 x 3": nn.Conv2d(32, 40, 3, padding=1),
    "3 x 3 without bias": nn.Conv2d(32, 40, 3, padding=1, bias=False),
    "with a stride": nn.Conv2d(32, 40, 3, padding=1, stride=2),
    "of each channel": nn.Conv2d(32, 32, 5, padding=2, groups=32),
    "dilated": nn.Conv2d(32, 40, 3, dilation=2),
    "mirrored": nn.Conv2d(32, 40, 3, padding=1, padding_mode="reflect"),
    "of one size": nn.Conv2d(32, 40, 3, padding="same"),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def quicken(convolution: nn.Conv2d) -> nn.Conv2d:
    quick = copy.deepcopy(convolution)
    quicken_convolutions(quick)
    return quick


def differentiate(convolve, convolution: nn.Conv2d, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().clone().requires_grad_()
    out = convolve(x)
    out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
    learnt = [parameter.grad for parameter in convolution.parameters()]
    convolution.zero_grad()
    return [out.detach(), x.grad, *(grad for grad in learnt if grad is not None)]


def demand_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randn(2, 32, 36, 29, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_results_and_gradients_are_those_of_pytorch(name, layout, pictures):
    plain = CONVOLUTIONS[name]
    quick, x = quicken(plain), pictures.contiguous(memory_format=layout)
    demand_close(differentiate(quick, quick, x), differentiate(plain, plain, x))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_scaled_weights_get_their_gradients_too(name, pictures):
    plain = CONVOLUTIONS[name]
    scale, shift = torch.linspace(0.5, -2, plain.out_channels), torch.ones(plain.out_channels)

    def convolve(x):
        weight = plain.weight * scale[:, None, None, None]
        return plain._conv_forward(x, weight, shift)

    quick = quicken(plain)
    found = differentiate(lambda x: convolve_scaled(quick, x, scale, shift), quick, pictures)
    demand_close(found, differentiate(convolve, plain, pictures))


@pytest.mark.parametrize(
    ("name", "way"),
    [("pointwise with a stride", Pointwise), ("3 x 3", Winograd), ("with a stride", Direct)],
)
def test_quickest_way_is_taken(name, way, pictures):
    if way is Winograd and convolutions.winograd is None:
        pytest.skip("numba is not installed")
    assert isinstance(quicken(CONVOLUTIONS[name])._conv_forward.choose(pictures), way)


def test_scaled_weights_are_not_kept(pictures):
    quick = quicken(CONVOLUTIONS["3 x 3"])
    ones = torch.ones(quick.out_channels)
    kept = []

    def keep(tensor):
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        convolve_scaled(quick, pictures, ones, ones)
    assert set(kept) == {t.untyped_storage().data_ptr() for t in (pictures, quick.weight, ones)}


def test_what_needs_no_gradient_gets_none(pictures):
    quick = quicken(CONVOLUTIONS["3 x 3"])
    quick.weight.requires_grad_(requires_grad=False)
    quick(pictures).sum().backward()
    assert quick.weight.grad is None
    assert quick.bias.grad is not None


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_results_may_be_changed_in_place(name, pictures):
    quick = quicken(CONVOLUTIONS[name])
    quick(pictures).relu_().sum().backward()
    assert quick.weight.grad is not None


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_plain_way(dtype, pictures):
    convolution, x = copy.deepcopy(CONVOLUTIONS["3 x 3"]).to(dtype), pictures.to(dtype)
    torch.testing.assert_close(quicken(convolution)(x), convolution(x), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_autocast_keeps_its_precision(name, pictures):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert quicken(CONVOLUTIONS[name])(pictures).dtype == torch.bfloat16


@torch.no_grad()
def test_copies_and_names_stay_whole(pictures):
    convolution = CONVOLUTIONS["3 x 3"]
    quick = quicken(convolution)
    assert quick.state_dict().keys() == convolution.state_dict().keys()
    expected, twin = quick(pictures), copy.deepcopy(quick)
    quick.weight.zero_()
    torch.testing.assert_close(twin(pictures), expected)


def test_convolutions_are_quick_without_numba(monkeypatch, pictures):
    monkeypatch.setattr(convolutions, "winograd", None)
    plain = CONVOLUTIONS["3 x 3"]
    quick = quicken(plain)
    demand_close(differentiate(quick, quick, pictures), differentiate(plain, plain, pictures))
