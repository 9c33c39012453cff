"""oneDNN's products are the same function, and step aside where somebody learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mask2former.model import onednn
from mask2former.model.onednn import multiply_by_onednn

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


def test_products_are_onednns_in_inference_only(
    network: nn.Module, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply_by_onednn(network)
    seen: list[Tensor] = []
    multiply = onednn._multiply
    monkeypatch.setattr(onednn, "_multiply", lambda *args: seen.append(args[0]) or multiply(*args))
    network(pictures).sum().backward()
    assert not seen
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.inference_mode():
        network(pictures)
    assert len(seen) == 4  # two convolutions without a stride, two linear layers


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
