"""Measure a model on annotated pictures, by the official rules of its task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mask2former.config import Task
from mask2former.data import Dataset
from mask2former.engine.predict import Predictor
from mask2former.engine.processes import ALONE, Team
from mask2former.metrics import for_task


class Report(NamedTuple):
    """The figures of one evaluation."""

    summary: dict[str, float]  # fractions, the headline first
    per_class: list[dict[str, Any]]
    protocol: str
    pictures: int
    seconds: float

    def score(self, name: str | None = None) -> float:
        """The figure that tells the best model, by default the headline; -inf if not measured."""
        value = self.summary[name or next(iter(self.summary))]
        return float("-inf") if np.isnan(value) else value


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    task: Task,
    *,
    show: Callable[[int], None] = lambda done: None,
    team: Team = ALONE,
) -> Report:
    """Predict every picture and compare; `show` hears how many are done.

    The processes of a team take the pictures in turn, each picture once, and all get the report of
    all pictures. The data set's classes must be the model's, in the model's order.
    """
    if dataset.categories.names != predictor.categories.names:
        raise ValueError(
            f"the model's classes are {predictor.categories.names[:5]} ..., the data's "
            f"{dataset.categories.names[:5]} ...; evaluate on data with the model's own classes"
        )
    shard = (team.rank, team.size)
    test = predictor.card.config.test
    categories, detections = predictor.categories, test.max_detections
    metric = for_task(task, categories, detections, shard=shard, rules=test.ap)
    start = time.perf_counter()
    for index in range(team.rank, len(dataset), team.size):
        result = predictor.segment(dataset.image(index), task)
        try:
            metric.update(result, dataset.truth(index))
        except ValueError as error:
            raise ValueError(f"{dataset.file(index)}: {error}") from error
        show(index + 1)
    metric, *others = team.gather(metric)
    for other in others:
        metric.merge(other)
    seconds = time.perf_counter() - start
    return Report(metric.compute(), metric.per_class(), metric.protocol, len(dataset), seconds)
