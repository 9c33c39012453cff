"""The plain types: masks multiply out, packed masks unpack, selections keep their order."""

import numpy as np
import pytest
import torch

from mask2former.structures import Batch, BoxedMask, Instances, Prediction, Targets


def pack(masks: np.ndarray) -> Instances:
    count = masks.shape[0]
    return Instances.of_masks(masks, np.arange(count), np.linspace(0.9, 0.1, count))


def test_mask_logits_are_products_at_every_pixel() -> None:
    embeddings, features = torch.randn(2, 5, 8), torch.randn(2, 3, 8, 4, 6)
    logits = Prediction(torch.zeros(2, 5, 4), embeddings, features).mask_logits()
    assert logits.shape == (2, 5, 3, 4, 6)
    expected = torch.einsum("bqc,btchw->bqthw", embeddings, features)
    torch.testing.assert_close(logits, expected)


def test_packed_masks_unpack_at_sizes_that_are_no_multiple_of_eight() -> None:
    masks = np.random.default_rng(0).random((4, 2, 5, 7)) > 0.5
    packed = pack(masks)
    assert packed.masks.dtype == bool
    np.testing.assert_array_equal(packed.masks, masks)
    for index in range(4):
        np.testing.assert_array_equal(packed.mask(index), masks[index])


def test_no_instance_unpacks_to_no_mask() -> None:
    assert pack(np.zeros((0, 1, 5, 7), bool)).masks.shape == (0, 1, 5, 7)


def test_select_takes_indices_and_bools_in_their_order() -> None:
    packed = pack(np.random.default_rng(0).random((3, 1, 4, 4)) > 0.5)
    turned = packed.select(np.array([2, 0]))
    np.testing.assert_array_equal(turned.labels, [2, 0])
    np.testing.assert_array_equal(turned.masks, packed.masks[[2, 0]])
    np.testing.assert_array_equal(packed.select(packed.scores > 0.4).labels, [0, 1])


def test_batch_moves_every_tensor() -> None:
    targets = [Targets(torch.ones(1, 1, 4, 4, dtype=torch.int32), torch.ones(1, dtype=torch.int64))]
    moved = Batch(torch.ones(1, 1, 3, 4, 4), targets, ["a"]).to(torch.device("meta"))
    tensors = [moved.images, moved.targets[0].ids, moved.targets[0].labels]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.names == ["a"]


def test_masks_beyond_the_memory_are_refused_but_their_boxes_are_there() -> None:
    mask = BoxedMask.of(np.ones((1, 2, 3), bool), (0, 70_000, 5))
    many = Instances([mask] * 9, np.zeros(9, int), np.ones(9), (1, 10**6, 10**7))
    with pytest.raises(ValueError, match=r"9 masks of 10000000 x 1000000 pixels need 90000 GB"):
        _ = many.masks
    assert [boxed.area for boxed in many.boxed] == [6] * 9
    assert many.boxed[0].window() == np.s_[0:1, 70_000:70_002, 5:8]
