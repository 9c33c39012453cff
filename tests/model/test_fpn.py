import pytest
import torch
from torch.nn import functional as F

from mask2former.model.fpn import FPNPixelDecoder

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 20}


def random_features(height: int = 64, width: int = 96) -> dict[int, torch.Tensor]:
    return {s: torch.randn(2, c, height // s, width // s) for s, c in CHANNELS.items()}


def test_fpn_gives_mask_features_and_pyramid_coarse_to_fine():
    mask_features, pyramid = FPNPixelDecoder(CHANNELS, 64, 16)(random_features())
    assert mask_features.shape == (2, 16, 16, 24)
    assert {s: tuple(x.shape) for s, x in pyramid.items()} == {
        32: (2, 64, 2, 3),
        16: (2, 64, 4, 6),
        8: (2, 64, 8, 12),
    }
    assert list(pyramid) == [32, 16, 8]


def test_fpn_has_the_parameters_of_the_official_one():
    with torch.device("meta"):
        decoder = FPNPixelDecoder({4: 256, 8: 512, 16: 1024, 32: 2048})
    lateral = 256 * (256 + 512 + 1024)
    smooth = 9 * 256 * (3 * 256 + 2048)
    norms = 7 * 2 * 256
    mask_features = 9 * 256 * 256 + 256
    count = sum(parameter.numel() for parameter in decoder.parameters())
    assert count == lateral + smooth + norms + mask_features


@torch.no_grad()
def test_fpn_adds_the_nearest_neighbour_from_above():
    decoder, features = FPNPixelDecoder(CHANNELS, 32, 16), random_features()
    _, pyramid = decoder(features)
    above = F.interpolate(pyramid[32], scale_factor=2, mode="nearest")
    expected = decoder.smooth["16"](decoder.lateral["16"](features[16]) + above)
    torch.testing.assert_close(pyramid[16], expected)


@pytest.mark.parametrize(("dim", "groups"), [(64, 32), (48, 16), (24, 8)])
def test_fpn_norm_groups_divide_the_channels(dim, groups):
    assert FPNPixelDecoder(CHANNELS, dim, 8).lateral["8"][1].num_groups == groups
