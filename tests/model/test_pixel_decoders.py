"""What every convolutional pixel decoder of table 4e must do, whatever it does between."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mask2former.model.bifpn import BiFPNPixelDecoder
from mask2former.model.fapn import FaPNPixelDecoder
from mask2former.model.fpn import FPNPixelDecoder
from mask2former.model.kernels.convolutions import quicken_convolutions
from mask2former.model.kernels.onednn import is_available
from mask2former.model.semantic_fpn import SemanticFPNPixelDecoder

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 20}
DECODERS = {
    "fpn": lambda: FPNPixelDecoder(CHANNELS, 32, 16),
    "semantic_fpn": lambda: SemanticFPNPixelDecoder(CHANNELS, 32, 16, summed=24),
    "bifpn": lambda: BiFPNPixelDecoder(CHANNELS, 32, 16, layers=2),
    "fapn": lambda: FaPNPixelDecoder(CHANNELS, 32, 16, groups=4),
}
every = pytest.mark.parametrize("name", DECODERS)


def build(name: str) -> nn.Module:
    """With offsets that are none of them zero."""
    torch.manual_seed(0)
    decoder = DECODERS[name]()
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.3)
    return decoder


def random_features(height: int = 64, width: int = 96, batch: int = 2) -> dict[int, Tensor]:
    return {s: torch.randn(batch, c, height // s, width // s) for s, c in CHANNELS.items()}


@torch.no_grad()
@every
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (32, 160), (224, 96)])
def test_maps_have_their_sizes_coarse_to_fine(name, height, width):
    mask_features, pyramid = build(name)(random_features(height, width))
    assert mask_features.shape == (2, 16, height // 4, width // 4)
    assert list(pyramid) == [32, 16, 8]
    for stride, maps in pyramid.items():
        assert maps.shape == (2, 32, height // stride, width // stride)


@torch.no_grad()
@every
def test_pictures_of_a_batch_know_nothing_of_each_other(name):
    decoder, features = build(name).train(), random_features()
    together, pyramid = decoder(features)
    alone, own = decoder({stride: maps[1:] for stride, maps in features.items()})
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)
    for stride, maps in own.items():
        torch.testing.assert_close(pyramid[stride][1:], maps, atol=1e-5, rtol=1e-4)


@every
def test_gradient_reaches_every_parameter_and_feature(name):
    decoder, features = build(name), random_features()
    for maps in features.values():
        maps.requires_grad_()
    mask_features, pyramid = decoder(features)
    sum(maps.square().mean() for maps in (mask_features, *pyramid.values())).backward()
    missing = [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing
    assert all(p.grad.isfinite().all() for p in decoder.parameters())
    assert all(maps.grad.any() for maps in features.values())


@torch.no_grad()
@every
def test_every_map_hears_of_every_stride(name):
    """But in FPNs nothing goes up: coarse maps know nothing of fine ones."""
    decoder, features = build(name), random_features()
    mask_features, pyramid = decoder(features)
    for stride in CHANNELS:
        changed = features | {stride: features[stride] + torch.randn_like(features[stride])}
        other, others = decoder(changed)
        assert not torch.allclose(other, mask_features)
        for reader, maps in pyramid.items():
            heard = not torch.allclose(others[reader], maps)
            assert heard == (name == "bifpn" or stride >= reader), (stride, reader)


@torch.no_grad()
@every
@pytest.mark.skipif(not is_available(), reason="this PyTorch has no oneDNN")
def test_quick_convolutions_and_channels_last_change_nothing(name):
    decoder, features = build(name), random_features()
    quick = copy.deepcopy(decoder).to(memory_format=torch.channels_last)
    quicken_convolutions(quick)
    mask_features, pyramid = decoder(features)
    found, others = quick(
        {s: maps.contiguous(memory_format=torch.channels_last) for s, maps in features.items()}
    )
    torch.testing.assert_close(found, mask_features, atol=1e-4, rtol=1e-4)
    for stride, maps in pyramid.items():
        torch.testing.assert_close(others[stride], maps, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@every
def test_half_precision_stays_near(name):
    decoder, features = build(name), random_features()
    exact, _ = decoder(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = decoder(features)
    assert (rounded.float() - exact).square().mean().sqrt() < 0.1 * exact.std()
