import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mask2former.model.bifpn import BiFPNLayer, Fusion

STRIDES = [32, 16, 8, 4]


@pytest.mark.parametrize("weights", [[1.0, 1.0], [3.0, 1.0, 0.5], [-2.0, 1.0, 1.0]])
def test_weights_are_normalised(weights):
    fusion = Fusion(len(weights), 8)
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor(weights))
    positive = [max(weight, 0.0) for weight in weights]
    expected = [weight / (sum(positive) + 1e-4) for weight in positive]
    shares = fusion.shares().detach()
    assert shares.tolist() == pytest.approx(expected)
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-3)


def test_weights_all_below_zero_divide_by_nothing():
    fusion = Fusion(2, 8)
    with torch.no_grad():
        fusion.weights.fill_(-1.0)
    assert fusion(torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)).isfinite().all()


@torch.no_grad()
def test_layer_is_figure_2d():
    """With fusions that only weigh, the outputs are those written out by hand."""
    torch.manual_seed(0)
    layer = BiFPNLayer(STRIDES, 8)
    for module in layer.modules():
        if isinstance(module, Fusion):
            module.convolve = nn.Identity()
            module.weights.uniform_(0.5, 2.0)
    maps = {s: torch.randn(2, 8, 64 // s, 96 // s) for s in STRIDES}

    def up(x):
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)

    def down(x):
        return F.max_pool2d(x, 3, 2, 1)

    def mix(fusion, *ways):
        w = fusion.weights
        return sum(a * b for a, b in zip(w, ways, strict=True)) / (w.sum() + 1e-4)

    t16 = mix(layer.down["16"], maps[16], up(maps[32]))
    t8 = mix(layer.down["8"], maps[8], up(t16))
    o4 = mix(layer.down["4"], maps[4], up(t8))
    o8 = mix(layer.up["8"], maps[8], t8, down(o4))
    o16 = mix(layer.up["16"], maps[16], t16, down(o8))
    o32 = mix(layer.up["32"], maps[32], down(o16))
    found = layer(maps)
    assert list(found) == STRIDES
    for stride, expected in zip(STRIDES, (o32, o16, o8, o4), strict=True):
        torch.testing.assert_close(found[stride], expected)


def test_convolutions_are_depthwise_and_pointwise():
    shapes = [
        (module.kernel_size, module.groups)
        for module in Fusion(2, 8).modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert shapes == [((3, 3), 8), ((1, 1), 1)]
