"""oneDNN's products are the same function, forwards and backwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mask2former.model.kernels import onednn
from mask2former.model.kernels.onednn import multiply_by_onednn

pytestmark = pytest.mark.skipif(not onednn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 24, 1, bias=False),
        nn.Conv2d(24, 24, 1, stride=2),
        nn.Conv2d(24, 8, 1),
        nn.Flatten(2),
        nn.Linear(20, 7),
        nn.Linear(7, 5, bias=False),
    )


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_products_stay_the_same_function(
    network: nn.Module, pictures: Tensor, layout: torch.memory_format
) -> None:
    pictures = pictures.contiguous(memory_format=layout)
    with torch.no_grad():
        expected = network(pictures)
        multiply_by_onednn(network)
        torch.testing.assert_close(network(pictures), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_pytorch(
    network: nn.Module, pictures: Tensor, layout: torch.memory_format
) -> None:
    twin = copy.deepcopy(network)
    multiply_by_onednn(twin)
    found = []
    for each in (network, twin):
        inputs = pictures.contiguous(memory_format=layout).requires_grad_()
        (each(inputs) ** 2).sum().backward()
        found.append([inputs.grad, *(parameter.grad for parameter in each.parameters())])
        pictures = pictures.detach().clone()
    for expected, gradient in zip(*found, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_products_are_onednns(
    network: nn.Module, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply_by_onednn(network)
    seen: list[Tensor] = []
    multiply = onednn.multiply
    monkeypatch.setattr(onednn, "multiply", lambda *args: seen.append(args[0]) or multiply(*args))
    with torch.inference_mode():
        network(pictures)
    assert len(seen) == 2
    network(pictures).sum().backward()
    assert len(seen) == 6  # and for the gradients of the inputs


@pytest.mark.parametrize("multiply", [False, True])
def test_results_may_be_changed_in_place(
    network: nn.Module, pictures: Tensor, *, multiply: bool
) -> None:
    if multiply:
        multiply_by_onednn(network)
    maps = network[1](network[0](pictures)).relu_()
    tokens = network[5](torch.randn(2, 3, 20)).add_(1.0)
    (maps.sum() + tokens.sum()).backward()
    assert network[1].weight.grad is not None
    assert network[5].weight.grad is not None


def test_activation_is_inside_the_product_in_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Linear(6, 9), nn.Linear(9, 4)
    seen: list[tuple] = []
    multiply = onednn.multiply
    monkeypatch.setattr(onednn, "multiply", lambda *args: seen.append(args[3:]) or multiply(*args))
    with torch.inference_mode():
        onednn.feed_forward(torch.randn(2, 6), *layers)
    assert seen == [(onednn.relu,), ()]


def test_layers_that_somebody_changed_are_called() -> None:
    heard: list[nn.Module] = []

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    first, second = Doubled(6, 9), nn.Linear(9, 4)
    second.register_forward_hook(lambda module, *_: heard.append(module))
    x, y = torch.randn(2, 5, 6), torch.randn(5, 6)
    expected = second(first(x).relu())
    torch.testing.assert_close(onednn.feed_forward(x, first, second), expected)
    (doubled,) = onednn.multiply_sum(x, y, first)
    torch.testing.assert_close(doubled, first(x + y))
    multiply_by_onednn(first)
    torch.testing.assert_close(first(x), 2 * nn.Linear.forward(first, x))
    assert heard == [second, second]


@pytest.mark.parametrize("activation", [onednn.relu, onednn.gelu])
def test_feed_forward_is_two_layers_and_an_activation(
    activation: onednn.Activation, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 9), nn.Linear(9, 4)
    x = torch.randn(2, 5, 6)
    found = []
    for possible in (False, True):
        inputs = x.clone().requires_grad_()
        first.zero_grad()
        second.zero_grad()
        with monkeypatch.context() as patch:
            if not possible:
                patch.setattr(onednn, "is_possible", lambda _: False)
            out = onednn.feed_forward(inputs, first, second, activation)
            with torch.no_grad():
                quick = onednn.feed_forward(inputs, first, second, activation)
        torch.testing.assert_close(quick, out, rtol=1e-5, atol=1e-6)
        (out**2).sum().backward()
        learnt = (*first.parameters(), *second.parameters())
        found.append([out, inputs.grad, *(parameter.grad.clone() for parameter in learnt)])
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


def test_products_of_a_sum_are_those_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linears = nn.Linear(6, 9), nn.Linear(6, 4)
    given = torch.randn(2, 5, 6), torch.randn(5, 6)
    found = []
    for possible in (False, True):
        x, y = (tensor.clone().requires_grad_() for tensor in given)
        for linear in linears:
            linear.zero_grad()
        with monkeypatch.context() as patch:
            if not possible:
                patch.setattr(onednn, "is_possible", lambda _: False)
            nine, four = onednn.multiply_sum(x, y, *linears)
        ((nine**2).sum() + four.sum()).backward()
        learnt = [p.grad.clone() for linear in linears for p in linear.parameters()]
        found.append([nine, four, x.grad, y.grad, *learnt])
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_frozen_weights_get_no_gradient(network: nn.Module, pictures: Tensor) -> None:
    multiply_by_onednn(network)
    network[1].requires_grad_(requires_grad=False)
    network[5].requires_grad_(requires_grad=False)
    network(pictures).sum().backward()
    assert network[1].weight.grad is None
    assert network[5].weight.grad is None
    assert network[0].weight.grad is not None


def test_autocast_keeps_its_precision(network: nn.Module, pictures: Tensor) -> None:
    multiply_by_onednn(network)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert network[1](network[0](pictures)).dtype == torch.bfloat16
        assert network[5](torch.randn(2, 20)).dtype == torch.bfloat16


def test_state_and_copies_stay_whole(network: nn.Module, pictures: Tensor) -> None:
    keys = list(network.state_dict())
    multiply_by_onednn(network)
    assert list(network.state_dict()) == keys
    twin = copy.deepcopy(network)
    with torch.no_grad():
        expected = network(pictures)
        for parameter in network.parameters():
            parameter.zero_()
        torch.testing.assert_close(twin(pictures), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_alone(
    network: nn.Module, pictures: Tensor, dtype: torch.dtype
) -> None:
    expected = copy.deepcopy(network).to(dtype)
    multiply_by_onednn(network)
    with torch.no_grad():
        torch.testing.assert_close(
            network.to(dtype)(pictures.to(dtype)), expected(pictures.to(dtype))
        )
