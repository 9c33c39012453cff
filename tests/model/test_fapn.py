import torch
from torch import nn
from torch.nn import functional as F

from mask2former.model.fapn import FaPNPixelDecoder, FeatureAlignment, FeatureSelection

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 20}


@torch.no_grad()
def test_zero_offsets_make_it_a_plain_convolution():
    torch.manual_seed(0)
    align = FaPNPixelDecoder(CHANNELS, 32, 16, groups=4).align["8"]
    nn.init.normal_(align.convolution.bias)
    above, selected = torch.randn(2, 32, 6, 10), torch.randn(2, 32, 6, 10)
    assert not align.offsets(align.compare(torch.cat([selected, above], 1))).any()
    expected = F.relu(align.convolution(above))
    torch.testing.assert_close(align(above, selected), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_whole_offsets_move_what_is_read():
    """An offset of one pixel down for all is the convolution of the map moved up."""
    torch.manual_seed(0)
    align = FeatureAlignment(8, 2)
    align.offsets.bias.view(-1, 2).copy_(torch.tensor([1.0, 0.0]))  # y, x of each place
    above, selected = torch.randn(1, 8, 7, 6), torch.randn(1, 8, 7, 6)
    moved = F.relu(align.convolution(above.roll(-1, dims=-2)))
    found = align(above, selected)
    torch.testing.assert_close(found[..., 1:-2, :], moved[..., 1:-2, :], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_selection_amplifies_channels_by_the_whole_picture():
    torch.manual_seed(0)
    select, maps = FeatureSelection(6, 8), torch.randn(2, 6, 4, 5)
    mean = torch.stack([torch.stack([channel.mean() for channel in one]) for one in maps])
    gate = torch.sigmoid(mean @ select.importance.weight[:, :, 0, 0].T + select.importance.bias)
    expected = select.narrow(maps * (1 + gate[:, :, None, None]))
    torch.testing.assert_close(select(maps), expected, atol=1e-5, rtol=1e-5)
