"""What benchmarks' servers take: the results of a split, under the numbers of its annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mask2former.config import Task
from mask2former.data import Dataset
from mask2former.data.video import YouTubeVIS
from mask2former.engine.predict import Predictor
from mask2former.files import to_json
from mask2former.saving.benchmark import write_results
from mask2former.saving.coco import result_entries
from mask2former.saving.youtube_vis import track_entries
from mask2former.structures import Instances, Result
from mask2former.writing import replace_text


@contextmanager
def predictions_into(
    folder: Path, predictor: Predictor, dataset: Dataset, task: Task
) -> Iterator[Callable[[int, Result], None]]:
    """Hands out what takes the result of each picture of a data set.

    Pictures bear the numbers of their annotations; where those have none, their places from 1.
    """
    entries = track_entries if predictor.takes_clips else result_entries
    with write_results(folder, task, predictor.categories, entries) as put:

        def keep(index: int, result: Result) -> None:
            number = dataset.image_id(index)
            put(index + 1 if number is None else number, str(dataset.file(index)), result)

        yield keep


def write_submission(
    path: Path,
    predictor: Predictor,
    dataset: YouTubeVIS,
    *,
    show: Callable[[int], None] = lambda done: None,
) -> Path:
    """Segment every video of a YouTube-VIS split and write the bare list of its results."""
    entries: list[dict] = []
    for index in range(len(dataset)):
        result = predictor.segment(dataset.image(index), "instance")
        assert isinstance(result, Instances)
        entries += track_entries(result, predictor.categories, dataset.image_id(index))
        show(index + 1)
    replace_text(path, to_json(entries))
    return path


def predict_all(
    predictor: Predictor,
    dataset: Dataset,
    task: Task,
    keep: Callable[[int, Result], None],
    *,
    show: Callable[[int], None] = lambda done: None,
) -> None:
    """Segment every picture of a split that has no labels."""
    for index in range(len(dataset)):
        keep(index, predictor.segment(dataset.image(index), task))
        show(index + 1)
