"""Pasting: pixels and ids move together, nobody stays nobody, any two sizes go together."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mask2former.data import Shapes
from mask2former.data.dataset import as_sample
from mask2former.data.pasting import paste
from mask2former.structures import Sample


def stripes(count: int, value: int, size: tuple[int, int], frames: int = 1) -> Sample:
    """`count` upright stripes of one class each, and nobody at the right; all pixels `value`."""
    ids = np.zeros((1, frames, *size), np.int32)
    for stripe in range(count):
        ids[..., 3 * stripe : 3 * stripe + 3] = stripe + 1
    labels = [value + stripe for stripe in range(count)]
    return as_sample(np.full((frames, *size, 3), value, np.uint8), ids, labels, str(value))


def label_map(sample: Sample) -> Tensor:
    """The label of every pixel of the first layer, -1 for nobody."""
    labels = torch.cat([torch.tensor([-1]), sample["labels"]])
    return labels[sample["ids"].as_subclass(Tensor)[0].long()]


def test_pixels_come_with_their_labels() -> None:
    torch.manual_seed(0)
    below, above = stripes(4, 100, (6, 20)), stripes(5, 200, (6, 20))
    counts = []
    for _ in range(50):
        both = paste(below, above)
        foreign = both["image"].as_subclass(Tensor)[:, 0] == 200
        labels = label_map(both)
        assert torch.equal(labels[foreign], label_map(above)[foreign])
        assert torch.equal(labels[~foreign], label_map(below)[~foreign])
        assert both["name"] == "100"
        counts.append(int(foreign.sum()) / 18)  # whole stripes
    assert all(count == int(count) for count in counts)
    assert set(counts) >= {1, 2, 3, 4}
    assert 2 < np.mean(counts) < 3


def test_stuff_joins_the_region_of_its_class() -> None:
    torch.manual_seed(1)
    below, above = stripes(3, 100, (6, 20)), stripes(5, 101, (6, 20))
    foreign = False
    for _ in range(20):
        both = paste(below, above, single={101, 102, 103, 104, 105})
        labels = both["labels"].tolist()
        assert len(set(labels)) == len(labels)
        pixels = both["image"].as_subclass(Tensor)[:, 0] == 101
        assert torch.equal(label_map(both)[pixels], label_map(above)[pixels])
        assert torch.equal(label_map(both)[~pixels], label_map(below)[~pixels])
        foreign = foreign or bool(pixels.any())
    assert foreign
    things = [paste(below, above)["labels"].tolist() for _ in range(20)]
    assert any(len(set(labels)) < len(labels) for labels in things)


def test_nobody_is_never_pasted_and_what_is_covered_is_gone(monkeypatch) -> None:
    monkeypatch.setattr(torch, "rand", torch.zeros)  # everything is chosen
    below, above = stripes(2, 100, (4, 9)), stripes(2, 200, (4, 9))
    both = paste(below, above)
    assert both["labels"].tolist() == [200, 201]
    assert both["image"][0, 0, 0].tolist() == [200] * 6 + [100] * 3
    assert both["ids"][0, 0, 0].tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0]


def test_a_picture_without_objects_changes_nothing() -> None:
    below, nothing = stripes(3, 100, (4, 12)), stripes(0, 200, (4, 12))
    both = paste(below, nothing)
    assert torch.equal(both["image"], below["image"])
    assert torch.equal(both["ids"], below["ids"])
    assert both["labels"].tolist() == [100, 101, 102]


def test_layers_of_overlapping_objects_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(torch, "rand", torch.zeros)
    ids = np.zeros((2, 1, 4, 9), np.int32)
    ids[0, ..., :5], ids[1, ..., 3:7] = 1, 2
    crossed = as_sample(np.full((1, 4, 9, 3), 7, np.uint8), ids, [7, 8], "crossed")
    plain = stripes(3, 100, (4, 9))
    both = paste(plain, crossed)
    first, second = both["ids"][:, 0, 0].tolist()
    assert [both["labels"][i - 1] if i else -1 for i in first] == [7] * 5 + [-1] * 2 + [102] * 2
    assert [both["labels"][i - 1] if i else -1 for i in second] == [-1] * 3 + [8] * 4 + [-1] * 2
    both = paste(crossed, plain)
    assert both["labels"].tolist() == [100, 101, 102]
    assert both["ids"].shape[0] == 1


@pytest.mark.parametrize("size", [(3, 8), (9, 40), (6, 20)])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_other_sizes_are_cut_or_leave_the_rest(monkeypatch, size, frames) -> None:
    monkeypatch.setattr(torch, "rand", torch.zeros)
    below, above = stripes(6, 100, (6, 20), frames=2), stripes(2, 200, size, frames=frames)
    both = paste(below, above)
    assert both["image"].shape == below["image"].shape
    foreign = both["image"].as_subclass(Tensor)[:, 0] == 200
    expected = torch.zeros(2, 6, 20, dtype=torch.bool)
    expected[:frames, : size[0], :6] = True
    assert torch.equal(foreign, expected)
    assert (label_map(both)[foreign] >= 200).all()


def test_what_was_given_is_left_as_it_was() -> None:
    shapes = Shapes(2, (40, 40))
    samples = [shapes.sample(0), shapes.sample(1)]
    kept = [(s["image"].clone(), s["ids"].clone()) for s in samples]
    paste(*samples)
    for sample, (image, ids) in zip(samples, kept, strict=True):
        assert torch.equal(sample["image"], image)
        assert torch.equal(sample["ids"], ids)
