import torch
from torch.nn import functional as F

from mask2former.model.semantic_fpn import SemanticFPNPixelDecoder

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 20}


def test_stages_are_one_for_each_halving_and_one_for_the_finest():
    decoder = SemanticFPNPixelDecoder(CHANNELS, 32, 16, summed=24)
    convolutions = {
        stride: sum(isinstance(m, torch.nn.Conv2d) for m in climb.modules())
        for stride, climb in decoder.climb.items()
    }
    assert convolutions == {"32": 3, "16": 2, "8": 1, "4": 1}
    doublings = {
        stride: sum(isinstance(m, torch.nn.Upsample) for m in climb.modules())
        for stride, climb in decoder.climb.items()
    }
    assert doublings == {"32": 3, "16": 2, "8": 1, "4": 0}


@torch.no_grad()
def test_mask_features_are_read_off_the_sum():
    torch.manual_seed(0)
    decoder = SemanticFPNPixelDecoder(CHANNELS, 32, 16, summed=24)
    features = {s: torch.randn(2, c, 64 // s, 96 // s) for s, c in CHANNELS.items()}
    mask_features, _ = decoder(features)
    pyramid, total = decoder.descend(features), torch.zeros(2, 24, 16, 24)
    for stride, x in pyramid.items():
        convolutions = [
            m for m in decoder.climb[str(stride)].modules() if hasattr(m, "kernel_size")
        ]
        norms = [m for m in decoder.climb[str(stride)].modules() if hasattr(m, "num_groups")]
        for convolution, norm in zip(convolutions, norms, strict=True):
            x = F.conv2d(x, convolution.weight, padding=1)
            x = F.relu(F.group_norm(x, 8, norm.weight, norm.bias))
            if stride > 4:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total += x
    expected = F.conv2d(total, decoder.mask_features.weight, decoder.mask_features.bias)
    torch.testing.assert_close(mask_features, expected, atol=1e-5, rtol=1e-4)
