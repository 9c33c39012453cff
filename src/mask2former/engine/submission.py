"""The file that a benchmark's server takes, for splits whose labels nobody else has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mask2former.data.video import YouTubeVIS
from mask2former.engine.predict import Predictor
from mask2former.exports.youtube_vis import track_entries
from mask2former.files import to_json
from mask2former.structures import Instances
from mask2former.writing import replace_text


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
        entries += track_entries(result, predictor.categories, dataset.video_id(index))
        show(index + 1)
    replace_text(path, to_json(entries))
    return path
