"""The forms of deformable sampling for exported graphs are the same function."""

import pytest
import torch

from mask2former.model.deformable_attention import sample_pyramid_with_grid
from mask2former.model.kernels.sampled_rows import (
    sample_with_bags,
    sample_with_grids,
    sample_with_products,
)


@pytest.mark.parametrize("sample", [sample_with_bags, sample_with_grids, sample_with_products])
@pytest.mark.parametrize("shapes", [[(5, 3)], [(2, 3), (4, 6), (8, 12)]])
@pytest.mark.parametrize("spread", [0.5, 20.0])
def test_form_for_graphs_equals_grid_sample(sample, shapes, spread):
    batch, queries, heads, points = 2, 17, 4, 3
    places = sum(height * width for height, width in shapes)
    value = torch.randn(batch, places, heads, 8)
    offsets = spread * torch.randn(batch, queries, heads, len(shapes), points, 2)
    logits = torch.randn(batch, queries, heads, len(shapes), points)
    reference = torch.rand(queries, 2)
    expected = sample_pyramid_with_grid(value, shapes, reference, offsets, logits)
    found = sample(value, shapes, reference, offsets, logits)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
