"""Measure a model on annotated pictures, by the official rules of its task."""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image

from mask2former.config import Task
from mask2former.data import Dataset
from mask2former.engine.predict import Predictor
from mask2former.engine.processes import ALONE, Team
from mask2former.engine.stops import patient_keyboard
from mask2former.metrics import AveragePrecision, Inspection, for_task
from mask2former.report.evaluation import Report
from mask2former.report.pictures import compare
from mask2former.structures import Result


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    task: Task,
    *,
    show: Callable[[int], None] = lambda done: None,
    team: Team = ALONE,
    inspection: Inspection | None = None,
    keep: Callable[[int, Result], None] = lambda index, result: None,
) -> Report:
    """Predict every picture and compare; `show` hears how many are done, `keep` what was found.

    The processes of a team take the pictures in turn, each picture once, and all get the report of
    all pictures, and an `inspection` of them all. The data set's classes must be the model's, in
    the model's order.
    """
    if dataset.categories.names != predictor.categories.names:
        raise ValueError(
            f"the model's classes are {predictor.categories.names[:5]} ..., the data's "
            f"{dataset.categories.names[:5]} ...; evaluate on data with the model's own classes"
        )
    shard = (team.rank, team.size)
    test = predictor.card.config.test
    categories, detections = predictor.categories, test.max_detections
    metric = for_task(
        task, categories, detections, shard=shard, rules=test.ap, boundary=test.boundary
    )
    start = time.perf_counter()
    with patient_keyboard() as look_for_keyboard:
        for index in range(team.rank, len(dataset), team.size):
            result = predictor.segment(dataset.image(index), task)
            try:
                truth = dataset.truth(index)
                metric.update(result, truth)
            except ValueError as error:
                raise ValueError(f"{dataset.file(index)}: {error}") from error
            if inspection is not None:
                inspection.update(index, result, truth)
            keep(index, result)
            show(index + 1)
            look_for_keyboard()
    metric, *others = team.gather(metric)
    for other in others:
        metric.merge(other)
    if inspection is not None:
        for rank, part in enumerate(team.gather(inspection)):
            if rank != team.rank:
                inspection.merge(part)
        if isinstance(metric, AveragePrecision):
            inspection.curves = metric.curves()
    seconds = time.perf_counter() - start
    return Report(metric.compute(), metric.per_class(), metric.protocol, len(dataset), seconds)


def draw_beside_truth(
    predictor: Predictor, dataset: Dataset, index: int, task: Task
) -> Image.Image:
    """One picture as the annotators and as the model see it."""
    image = dataset.image(index)
    shown = predictor.card.config.test.show_threshold if task == "instance" else None
    result = predictor.segment(image, task, shown)
    return compare(image, dataset.truth(index), result, predictor.categories)
