"""What a run asks of its validation pictures beside their figures: a few drawn, a few timed."""

from __future__ import annotations

from pathlib import Path

from mask2former.config import Task
from mask2former.data import Dataset
from mask2former.engine.evaluate import draw_beside_truth, evaluate
from mask2former.engine.predict import Predictor
from mask2former.engine.predict_files import name_apart
from mask2former.report.run_folder import RunFolder

SAMPLES = 4
"""How many pictures are drawn after each evaluation, and timed before a run is planned."""
LONG = 5.0
"""Seconds of a picture after which no other is asked."""


def time_picture(predictor: Predictor, dataset: Dataset, task: Task) -> float:
    """What measuring a picture takes, in seconds: a few tell, spread evenly."""
    few = spread_evenly(dataset, SAMPLES)
    first = evaluate(predictor, few.select([0]), task).seconds  # longer than others: it warms up
    if first > LONG:
        return first
    return evaluate(predictor, few, task).seconds / len(few)


def spread_evenly(dataset: Dataset, count: int | None) -> Dataset:
    """So many pictures of a data set, as far apart as can be; with None all."""
    whole = len(dataset)
    if count is None or count >= whole:
        return dataset
    return dataset.select(i * whole // count for i in range(count))


def draw_samples(folder: RunFolder, predictor: Predictor, dataset: Dataset) -> None:
    """A few validation pictures as the annotators and as the model see them."""
    files = [Path(dataset.file(index)) for index in range(min(SAMPLES, len(dataset)))]
    for index, name in enumerate(name_apart(files)):
        picture = draw_beside_truth(predictor, dataset, index, predictor.task)
        folder.save_sample(Path(name).stem, picture)
