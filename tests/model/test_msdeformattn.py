"""The paper's pixel decoder: shapes, order of levels, precision, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mask2former.model.msdeformattn import MSDeformAttnPixelDecoder
from mask2former.model.position import pixel_centres

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 20}


def random_features(height: int = 64, width: int = 96) -> dict[int, Tensor]:
    return {s: torch.randn(2, c, height // s, width // s) for s, c in CHANNELS.items()}


@pytest.fixture
def decoder() -> MSDeformAttnPixelDecoder:
    decoder = MSDeformAttnPixelDecoder(
        CHANNELS, dim=32, mask_dim=16, layers=2, heads=4, feedforward=24
    )
    with torch.no_grad():  # moves the first looks off the lattice, where bilinear weights kink
        for parameter in decoder.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    return decoder


def test_pixel_decoder_gives_mask_features_and_pyramid_coarse_to_fine(decoder):
    mask_features, pyramid = decoder(random_features())
    assert mask_features.shape == (2, 16, 16, 24)
    assert {s: tuple(x.shape) for s, x in pyramid.items()} == {
        32: (2, 32, 2, 3),
        16: (2, 32, 4, 6),
        8: (2, 32, 8, 12),
    }
    assert list(pyramid) == [32, 16, 8]


@torch.no_grad()
def test_pixel_decoder_reads_each_picture_alone(decoder):
    features = random_features()
    both = decoder(features)[0]
    alone = decoder({stride: maps[1:] for stride, maps in features.items()})[0]
    torch.testing.assert_close(alone, both[1:], atol=1e-5, rtol=0.0)


@torch.no_grad()
def test_pixel_decoder_adds_the_bilinear_stride_8_map(decoder):
    features = random_features()
    mask_features, pyramid = decoder(features)
    above = F.interpolate(pyramid[8], scale_factor=2, mode="bilinear", align_corners=False)
    expected = decoder.mask_features(decoder.smooth(decoder.lateral(features[4]) + above))
    torch.testing.assert_close(mask_features, expected)


@torch.no_grad()
def test_pixel_decoder_computes_in_fp32_under_autocast(decoder):
    features = random_features()
    plain = decoder(features)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = decoder(features)[0]
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)


def test_pixel_decoder_moves_every_parameter(decoder):
    mask_features, pyramid = decoder(random_features())
    (mask_features.square().mean() + sum(m.square().mean() for m in pyramid.values())).backward()
    still = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_pixel_decoder_has_the_published_number_of_parameters():
    with torch.device("meta"):
        resnet = MSDeformAttnPixelDecoder({4: 256, 8: 512, 16: 1024, 32: 2048})
        swin_t = MSDeformAttnPixelDecoder({4: 96, 8: 192, 16: 384, 32: 768})
    counts = [sum(p.numel() for p in decoder.parameters()) for decoder in (resnet, swin_t)]
    assert counts == [6_035_904, 5_421_504]


def test_pixel_centres_run_row_by_row():
    expected = [[0.25, 0.5 / 3], [0.75, 0.5 / 3], [0.25, 0.5], [0.75, 0.5]]
    torch.testing.assert_close(pixel_centres(3, 2, torch.device("cpu"))[:4], torch.tensor(expected))
