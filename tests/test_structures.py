"""The plain types: masks multiply out, packed masks unpack, selections keep their order."""

import numpy as np
import torch

from mask2former.structures import Batch, Instances, Prediction, Targets


def pack(masks: np.ndarray) -> Instances:
    count = masks.shape[0]
    bits = np.packbits(masks.reshape(count, np.prod(masks.shape[1:])), axis=1)
    return Instances(bits, np.arange(count), np.linspace(0.9, 0.1, count), masks.shape[1:])


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
