"""Synthetic shapes: every task's targets agree with one truth."""

import numpy as np
import pytest

from mask2former import rle
from mask2former.categories import Categories, Task
from mask2former.data import Shapes


def test_shapes_do_not_depend_on_what_was_drawn_before() -> None:
    late, fresh = Shapes(9), Shapes(9)
    late.sample(0)
    assert (late.image(4) == fresh.image(4)).all()
    assert (late.image(4) != Shapes(9, seed=1).image(4)).any()


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_sample_agrees_with_truth(task: Task) -> None:
    dataset = Shapes(10, task=task)
    for index in range(len(dataset)):
        sample, truth = dataset.sample(index), dataset.truth(index)
        ids = sample["ids"].numpy()[0, 0]
        label_of_id = np.array([-1, *sample["labels"].tolist()])
        assert np.unique(ids[ids > 0]).tolist() == list(range(1, len(label_of_id)))
        instances = truth.instances or []
        assert len(instances) >= 2
        for instance in instances:
            mask = rle.decode(instance.rle)
            assert instance.area == mask.sum() > 0
            assert (label_of_id[ids[mask]] == instance.label).all()
        if truth.semantic is not None:
            assert (label_of_id[ids] == truth.semantic).all()


def test_panoptic_truth_covers_the_picture() -> None:
    truth = Shapes(3).truth(1)
    assert truth.panoptic is not None
    assert (truth.panoptic > 0).all()
    assert {s.id: s.area for s in truth.segments} == dict(
        zip(*np.unique(truth.panoptic, return_counts=True), strict=True)
    )


def test_clip_moves_its_shapes_and_keeps_their_ids() -> None:
    dataset = Shapes(3, (48, 64), task="instance", frames=3)
    sample, truth = dataset.sample(0), dataset.truth(0)
    assert sample["image"].shape == (3, 3, 48, 64)
    assert sample["ids"].shape == (1, 3, 48, 64)
    assert dataset.image(0).shape == (3, 48, 64, 3)
    ids = sample["ids"].numpy()[0]
    assert (np.unique(ids[0]) == np.unique(ids[2])).all()
    assert (ids[0] != ids[2]).any()
    assert truth.size == (48, 3 * 64)
    masks = [rle.decode(o.rle) for o in truth.instances or []]
    assert (masks[0] == rle.side_by_side(ids == 1)).all()


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_labels_are_those_of_a_model(task: Task) -> None:
    own = Shapes(3, task=task)
    turned = Categories(reversed(Shapes(1, task="panoptic").categories))
    wanted = Shapes(3, task=task, categories=turned)
    assert wanted.categories.names == ["background", "triangle", "square", "circle"]
    for index in range(3):
        for one, other in [
            (own.truth(index).instances or [], wanted.truth(index).instances or []),
            (own.truth(index).segments, wanted.truth(index).segments),
        ]:
            assert [3 - truth.label for truth in one] == [truth.label for truth in other]
        labels = [set(dataset.sample(index)["labels"].tolist()) for dataset in (own, wanted)]
        assert {3 - label for label in labels[0]} == labels[1]
