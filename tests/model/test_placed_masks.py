import torch

from mask2former.model.placed_masks import POWERS, SAYS, PlacedMaskHead, PlacedMasks
from mask2former.model.transformer_decoder import MaskHead

DIM = 16


class _Nothing(torch.nn.Module):
    """A pixel decoder that sees nothing: only the place is left in the masks."""

    def forward(self, features):
        maps = features[4]
        return maps.new_zeros(maps.shape[0], DIM, *maps.shape[-2:]), {}


def place_logits(head: PlacedMaskHead, queries, points, size=(40, 60)):
    mask_features, _ = PlacedMasks(_Nothing())({4: torch.zeros(1, 3, *size)})
    assert mask_features.shape == (1, DIM + POWERS, *size)
    return torch.einsum("qc,chw->qhw", head(queries, points)[0], mask_features[0])


def test_placed_masks_depend_on_the_way_from_the_query_alone():
    head = PlacedMaskHead(MaskHead([DIM, DIM, DIM + SAYS]))
    queries, point = torch.randn(1, 1, DIM), torch.tensor([[30.0, 50.0]])
    here = place_logits(head, queries, point)
    there = place_logits(head, queries, point + torch.tensor([32.0, 16.0]))  # 8 columns, 4 rows
    torch.testing.assert_close(there[:, 4:, 8:], here[:, :-4, :-8], atol=1e-3, rtol=1e-4)


def test_placed_masks_fall_off_with_distance_everywhere():
    head = PlacedMaskHead(MaskHead([DIM, DIM, DIM + SAYS]))
    logits = place_logits(head, torch.randn(1, 4, DIM), torch.rand(4, 2) * 100, size=(60, 60))
    assert (logits <= 1e-2).all()
    # along any row and column there is one summit at most
    for axis in (1, 2):
        slope = logits.diff(dim=axis).sign()
        assert ((slope.diff(dim=axis) > 0).sum() == 0).all()


def test_placed_masks_equal_the_formula():
    head = PlacedMaskHead(MaskHead([DIM, DIM, DIM + SAYS]))
    queries, point = torch.randn(1, 1, DIM), torch.tensor([[17.0, 80.0]])
    said = head.head(queries)[0, 0]
    sharpness = torch.nn.functional.softplus(said[-4:-2])
    centre = point[0] + 16 * said[-2:]
    logits = place_logits(head, queries, point)[0]
    pixel = torch.tensor([4 * 9 + 2.0, 4 * 21 + 2.0])  # column 9, row 21
    expected = -(sharpness * ((pixel - centre) / 16) ** 2).sum()
    torch.testing.assert_close(logits[21, 9], expected, atol=1e-3, rtol=1e-4)
