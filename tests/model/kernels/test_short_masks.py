"""Masks without the last convolution of the mask features are the same."""

import pytest
import torch

from mask2former.build import build_model
from mask2former.config import load_config
from mask2former.model.kernels.short_masks import shorten_masks


def tiny(*settings):
    network = build_model(load_config("tiny/shapes", list(settings)).model, 5)
    for name, parameter in network.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["model.transformer_decoder.queries={spacing: 16}"],
        ["model.pixel_decoder={kind: semantic_fpn}"],
    ],
)
def test_logits_stay_what_they_were(settings):
    network = tiny(*settings)
    images = 255 * torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        before = network(images)[-1]
        assert shorten_masks(network)
        after = network(images)[-1]
    torch.testing.assert_close(after.class_logits, before.class_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.mask_logits(), before.mask_logits(), atol=1e-4, rtol=1e-3)
    assert after.mask_features.shape[2] == before.mask_features.shape[2] + 1


@pytest.mark.parametrize("kind", ["fpn", "bifpn", "fapn"])
def test_a_wide_convolution_stays(kind):
    assert not shorten_masks(tiny(f"model.pixel_decoder={{kind: {kind}}}"))
