"""A model is measured by the metric of the task, on data with its own classes."""

import copy
from typing import Any

import pytest
import torch

from mask2former.config import Task
from mask2former.data import Shapes
from mask2former.engine.evaluate import Report, evaluate
from mask2former.engine.predict import Predictor
from mask2former.engine.processes import Team
from mask2former.metrics import Inspection


@pytest.mark.parametrize(
    ("task", "headline"), [("semantic", "mIoU"), ("instance", "AP"), ("panoptic", "PQ")]
)
def test_every_task_is_measured(predictor: Predictor, task: str, headline: str) -> None:
    shown: list[int] = []
    report = evaluate(predictor, Shapes(3, (64, 64)), task, show=shown.append)
    assert next(iter(report.summary)) == headline
    assert 0 <= report.score() <= 1
    assert report.pictures == 3
    assert shown == [1, 2, 3]
    assert report.protocol
    assert {row["name"] for row in report.per_class} <= set(predictor.categories.names)


def test_other_classes_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"the model's classes are .*circle.* own classes"):
        evaluate(predictor, Shapes(1, task="instance"), "instance")


def test_truth_that_cannot_say_the_task_names_the_picture(predictor: Predictor) -> None:
    dataset = Shapes(1, task="instance")
    dataset.categories = predictor.categories
    with pytest.raises(ValueError, match=r"shapes/0/000000\.png: "):
        evaluate(predictor, dataset, "panoptic")


def test_nothing_measured_is_worse_than_anything() -> None:
    assert Report({"AP": float("nan")}, [], "", 0, 0.0).score() == float("-inf")
    assert Report({"AP": 0.25, "AP50": 0.5}, [], "", 0, 0.0).score() == 0.25
    assert Report({"AP": 0.25, "AP50": 0.5}, [], "", 0, 0.0).score("AP50") == 0.5


@pytest.mark.parametrize("part", ["class_head.weight", "mask_head.layers.4.bias"])
def test_network_that_has_diverged_is_told_from_one_that_finds_nothing(
    predictor: Predictor, part: str
) -> None:
    model = copy.deepcopy(predictor.model)
    with torch.no_grad():
        model.get_parameter(f"transformer_decoder.{part}").view(-1)[0] = float("nan")
    broken = Predictor(model, predictor.card, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"not a number: .*the training has diverged"):
        evaluate(broken, Shapes(2), "panoptic")


class Half(Team):
    """One of two processes; only what is inspected is exchanged, with what the other has seen."""

    def __init__(self, rank: int, seen: Inspection | None = None) -> None:
        super().__init__(rank, 2)
        object.__setattr__(self, "seen", seen)  # a team is frozen

    def gather(self, thing: Any) -> list:
        if not isinstance(thing, Inspection) or self.seen is None:
            return [thing]
        return [copy.deepcopy(thing), self.seen]  # over processes, one's own comes back as a copy


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_inspection_of_two_processes_is_that_of_one(predictor: Predictor, task: Task) -> None:
    dataset = Shapes(5, (64, 64))
    alone, first, second = (Inspection(predictor.categories, 0.0) for _ in range(3))
    evaluate(predictor, dataset, task, inspection=alone)
    assert [picture.index for picture in alone.pictures] == [0, 1, 2, 3, 4]
    for index in (1, 3):
        second.update(index, predictor.segment(dataset.image(index), task), dataset.truth(index))
    evaluate(predictor, dataset, task, inspection=first, team=Half(0, second))
    assert repr(first.pictures) == repr(alone.pictures)
    assert (first.confusion.counts == alone.confusion.counts).all()
    assert set(alone.curves) == ({"circle", "square", "triangle"} if task == "instance" else set())
