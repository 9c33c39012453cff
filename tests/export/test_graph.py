"""What is put otherwise for graphs stays the same function."""

import pytest
import torch

from mask2former.export.export import origin
from mask2former.masks import _sample_by_corners, sample
from mask2former.model.backbone import TimmBackbone, fix_padding


def test_fixed_padding_is_that_of_inputs_of_multiples_of_32():
    backbone = TimmBackbone("tf_efficientnet_lite0").eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(images)
        fix_padding(backbone)
        found = backbone(images)
    for stride, maps in expected.items():
        torch.testing.assert_close(found[stride], maps)


def test_maps_are_sampled_by_corners_as_by_grid_sample():
    maps, points = torch.randn(2, 3, 5, 7), 1.2 * torch.rand(2, 11, 2) - 0.1
    torch.testing.assert_close(_sample_by_corners(maps, points), sample(maps, points))


def test_error_is_told_by_its_origin() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise ValueError("a view that cannot be")
        except ValueError as error:
            raise RuntimeError("step 2 of 3 failed") from error
    assert str(origin(caught.value)) == "a view that cannot be"
