"""Classes joined and left out, for every kind of target and truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mask2former import rle
from mask2former.categories import Task
from mask2former.data import Relabelled, Shapes
from mask2former.metrics import for_task
from mask2former.structures import IGNORE, Instances, Panoptic, Segment, SemanticMap

JOINED = {"merge": {"angular": ["square", "triangle"]}, "ignore": ()}
WITHOUT = {"merge": {}, "ignore": ("square",)}


def view(task: Task, settings: dict) -> tuple[Shapes, Relabelled]:
    shapes = Shapes(12, (64, 64), task=task)
    return shapes, Relabelled(shapes, task=task, **settings)


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_pixels_keep_their_renamed_class(task: Task) -> None:
    for settings in (JOINED, WITHOUT):
        shapes, new = view(task, settings)
        name_of = {"square": "angular", "triangle": "angular"} if settings is JOINED else {}
        for index in range(len(shapes)):
            before, after = shapes.sample(index), new.sample(index)
            old = np.array(["", *(shapes.categories.names[k] for k in before["labels"].tolist())])
            got = np.array(["", *(new.categories.names[k] for k in after["labels"].tolist())])
            expected = old[before["ids"].numpy()]
            for name, other in name_of.items():
                expected = np.where(expected == name, other, expected)
            if settings is WITHOUT:
                expected = np.where(expected == "square", "", expected)
            assert (got[after["ids"].numpy()] == expected).all()
            ids = torch.unique(after["ids"]).tolist()
            assert [i for i in ids if i] == list(range(1, len(after["labels"]) + 1))
            assert new.labels(index) == [
                new.categories.names.index(name_of.get(n, n))
                for n in (shapes.categories.names[k] for k in shapes.labels(index))
                if settings is JOINED or n != "square"
            ]


def test_targets_are_joined_only_where_one_is_wanted() -> None:
    shapes, new = view("semantic", JOINED)
    assert all(len(set(s := new.sample(i)["labels"].tolist())) == len(s) for i in range(12))
    shapes, new = view("instance", JOINED)
    assert all(len(new.sample(i)["labels"]) == len(shapes.sample(i)["labels"]) for i in range(12))


def test_truth_follows_the_new_classes() -> None:
    shapes, new = view("panoptic", JOINED)
    assert new.categories.names == ["circle", "angular", "background"]
    assert new.categories.is_thing == [True, True, False]
    for index in range(len(shapes)):
        old, truth = shapes.truth(index), new.truth(index)
        assert old.semantic is not None
        assert (truth.semantic == np.array([0, 1, 1, 2])[old.semantic]).all()
        assert [i.label for i in truth.instances or ()] == [
            min(i.label, 1) for i in old.instances or ()
        ]
        assert truth.panoptic is not None
        assert (truth.panoptic == old.panoptic).all()


def test_merged_with_stuff_is_stuff_and_one_segment() -> None:
    shapes = Shapes(12, (64, 64), task="panoptic")
    merge = {"rest": ["background", "square"]}
    new = Relabelled(shapes, merge=merge, ignore=(), task="panoptic")
    assert dict(zip(new.categories.names, new.categories.is_thing, strict=True))["rest"] is False
    rest = new.categories.names.index("rest")
    for index in range(len(new)):
        truth = new.truth(index)
        assert [s.label for s in truth.segments].count(rest) == 1
        assert new.sample(index)["labels"].tolist().count(rest) == 1
        assert truth.panoptic is not None
        areas = np.bincount(truth.panoptic.ravel())
        assert all(areas[segment.id] == segment.area for segment in truth.segments)
        assert rest not in [i.label for i in truth.instances or ()]


def perfect(dataset: Shapes, index: int, task: Task):
    """What a network that sees everything answers, in the old classes without squares."""
    truth = dataset.truth(index)
    label_of = {0: 0, 1: 0, 2: 1, 3: 2}  # a square is taken for a circle
    if task == "semantic":
        return SemanticMap(np.array([0, 0, 1, 2])[truth.semantic][None].astype(np.int16))
    if task == "instance":
        objects = truth.instances or []
        masks = np.stack([rle.decode(found.rle)[None] for found in objects])
        labels = np.array([label_of[found.label] for found in objects])
        # The doubtful ones are surest, so that they would count as wrong before all others.
        scores = np.array([1.0 if f.label == 1 else 0.5 for f in objects], np.float32)
        return Instances.of_masks(masks, labels, scores)
    segments = [
        Segment(s.id, label_of[s.label], 1.0, s.area, is_thing=s.label != 3) for s in truth.segments
    ]
    assert truth.panoptic is not None
    return Panoptic(truth.panoptic[None].astype(np.int32), segments)


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_what_is_seen_in_ignored_classes_is_forgiven(task: Task) -> None:
    shapes = Shapes(12, (64, 64), task=task)
    new = Relabelled(shapes, **WITHOUT, task=task)
    metric = for_task(task, new.categories)
    for index in range(len(new)):
        truth = new.truth(index)
        if truth.semantic is not None:
            assert ((truth.semantic == IGNORE) == (shapes.truth(index).semantic == 1)).all()
        metric.update(perfect(shapes, index, task), truth)
    assert next(iter(metric.compute().values())) == pytest.approx(1)


def test_order_of_a_trained_model_is_kept() -> None:
    shapes, new = view("semantic", JOINED)
    wanted = type(new.categories)(reversed(list(new.categories)))
    again = Relabelled(shapes, **JOINED, task="semantic", wanted=wanted)
    assert again.categories.names == ["background", "angular", "circle"]
    sample, other = again.sample(0), new.sample(0)
    assert [again.categories.names[k] for k in sample["labels"].tolist()] == [
        new.categories.names[k] for k in other["labels"].tolist()
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"merge": {"x": ["sqare"]}, "ignore": ()}, r"merge\.x.*no class 'sqare'.*'square'"),
        ({"merge": {}, "ignore": ["backgrund"]}, r"ignore_classes.*'backgrund'.*'background'"),
        ({"merge": {"x": ["square"]}, "ignore": ["square"]}, r"'square' is used before"),
        ({"merge": {"x": []}, "ignore": ()}, r"merge\.x names no class"),
        (
            {"merge": {}, "ignore": ["circle", "square", "triangle", "background"]},
            "leaves no class",
        ),
    ],
)
def test_wrong_names_are_told(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Relabelled(Shapes(2), **settings, task="panoptic")
