"""Segment files, folders, globs and videos into a folder of results."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mask2former.config import Task
from mask2former.engine.pipeline import ahead
from mask2former.engine.predict import Predictor, read_frames
from mask2former.faults import explain, naming
from mask2former.files import (
    PICTURE_SUFFIXES,
    count_frames,
    read_image,
    write_coco,
    write_label_map,
    write_panoptic,
)
from mask2former.frames import by_number, is_video, read_video, write_tracks
from mask2former.results import InstanceResult, PictureResult
from mask2former.structures import SemanticMap
from mask2former.writing import make_folder, replace_file

T = TypeVar("T")

FORMATS: dict[Task, tuple[str, ...]] = {
    "instance": ("overlay", "coco"),
    "panoptic": ("overlay", "panoptic"),
    "semantic": ("overlay", "labels"),
}
"""What can be saved of each task; all of it unless the person chooses."""
CLIP_FORMATS: dict[Task, tuple[str, ...]] = {
    "instance": ("overlay", "tracks"),
    "panoptic": ("overlay",),
    "semantic": ("overlay",),
}
"""The same of a video model's results."""
RESULT_FOLDERS = ("overlay", "labels", "panoptic")
"""Where below the output pictures are written."""
RESULT_FILES = ("coco.json", "panoptic.json", "tracks.json")
"""What else is written there."""
LONGEST_STEM = 230
"""Bytes of a name's stem; with number and ending it stays below the 255 of all file systems."""


def find_pictures(
    sources: Sequence[str], *, output: Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """The picture files that paths, folders (with all below them) and globs name, sorted in each.

    A file that is named stays in the list even if it is no picture: reading it says why. What an
    earlier run wrote below `output` is left out of folders and globs.
    """
    names = (*RESULT_FOLDERS, *RESULT_FILES)
    results = set() if output is None else {real(output / name) for name in names}
    found: dict[Path, None] = {}
    left_out: set[Path] = set()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside, others = pictures_below(path)
            if not inside:
                only = f", only {describe(others)}" if others else ""
                raise ValueError(f"the folder {path} holds no picture{only}")
            others = [file for file in others if real(file) not in results]
            if others:
                say(f"{path}: {describe(others)} left out")
        elif path.exists():
            inside = [path]
        else:
            anchor = Path(path.anchor)
            matches = anchor.glob(str(path.relative_to(anchor)))
            inside = sorted(match for match in matches if match.is_file())
            if not inside:
                raise ValueError(f"{source}: no such file, and no file matches it as a pattern")
        old = {p for p in inside if p != path and not results.isdisjoint(real(p).parents)}
        left_out |= old
        found |= dict.fromkeys(p for p in inside if p not in old)
    if left_out:
        say(f"{len(left_out)} earlier results below {output} are left out")
    if not found:
        raise ValueError(f"{', '.join(sources)}: nothing but results of an earlier run")
    return list(found)


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder and of all below it, by their endings, and its other files.

    What is hidden (previews of file managers, halves of files) is neither.
    """
    shown = (
        path
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    found: dict[bool, list[Path]] = {True: [], False: []}
    for path in shown:
        found[path.suffix.lower() in PICTURE_SUFFIXES].append(path)
    return found[True], found[False]


def real(path: Path) -> Path:
    """Where links lead; unlike `Path.resolve`, a circle of links leads to itself."""
    return Path(os.path.realpath(path))


def describe(files: Sequence[Path]) -> str:
    """How many files that are no pictures there are, and of which kinds."""
    kinds = [kind or "no ending" for kind, _ in Counter(f.suffix for f in files).most_common(3)]
    more = ", ..." if len({file.suffix for file in files}) > 3 else ""
    return f"{len(files)} other files ({', '.join(kinds)}{more})"


def group_clips(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """What a video model takes as one: the pictures of a folder, or a video file (with no list)."""
    clips: dict[Path, list[Path]] = {}
    for file in files:
        if is_video(file):
            clips[file] = []
        else:
            clips.setdefault(file.absolute().parent, []).append(file)
    return {path: by_number(frames) for path, frames in clips.items()}


class Question(NamedTuple):
    """A picture or clip that has been read."""

    path: Path
    frames: list[str]  # their names in what is written
    shown: str  # what a person reads
    pixels: np.ndarray
    seconds: float = 0.0  # that reading took


class Answer(NamedTuple):
    """What the model says of it; reading and asking took some seconds."""

    path: Path
    frames: list[str]
    shown: str
    result: PictureResult
    seconds: float


class Fault(NamedTuple):
    """What a person can mend about a file."""

    path: Path
    sentence: str


def attempt(path: Path, step: Callable[[], T]) -> T | Fault:
    """Do a step; what a person can mend about the file is its fault, and all else is raised."""
    try:
        return step()
    except (ValueError, MemoryError, RuntimeError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        return Fault(path, naming(path, sentence))


@dataclass
class Session:
    """One run over many files. What cannot be read is told and counted, and the others go on.

    While a result is written, the network is at the next picture, and the one after that is read.
    """

    predictor: Predictor
    task: Task
    output: Path
    threshold: float | None = None
    formats: Sequence[str] = ()
    say: Callable[[str], None] = print
    complain: Callable[[str], None] = print
    written: list[str] = field(default_factory=list)
    failed: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        possible = (CLIP_FORMATS if self.predictor.takes_clips else FORMATS)[self.task]
        self.formats = tuple(self.formats) or possible
        unknown = [name for name in self.formats if name not in possible]
        if unknown:
            raise ValueError(
                f"cannot save '{unknown[0]}' of {self.task} results; choose {', '.join(possible)}"
            )
        if self.threshold is None and self.task == "instance":
            self.threshold = self.predictor.card.config.test.show_threshold

    def run(self, files: Sequence[Path]) -> None:
        """Segment and save every file."""
        make_folder(self.output)
        # The writers draw results one by one, so that only one is in memory at a time.
        answers = self.answers(files)
        records: Iterator[Any] = ((a.frames[0], a.result.plain) for a in answers)
        categories = self.predictor.categories
        if "coco" in self.formats:
            self.written.append(str(write_coco(self.output / "coco.json", records, categories)))
        elif "panoptic" in self.formats:
            self.written.append(str(write_panoptic(self.output, records, categories)))
        elif "labels" in self.formats:
            write_label_maps(self.output / "labels", records)
        elif "tracks" in self.formats:
            tracks: Iterator[Any] = ((a.frames, a.result.plain) for a in answers)
            self.written.append(str(write_tracks(self.output / "tracks.json", tracks, categories)))
        else:
            for _ in answers:  # they are drawn on the way
                pass
        for kind in ("overlay", "labels"):
            if kind in self.formats and self.done:
                self.written.append(f"{self.output / kind}/")

    def answers(self, files: Sequence[Path]) -> Iterator[Answer]:
        """One answer after the other, drawn and told of."""
        clips = self.predictor.takes_clips
        sources = group_clips(files) if clips else {file: [file] for file in files}
        places = {path: f"{place}/{len(sources)}" for place, path in enumerate(sources, start=1)}
        with (
            closing(ahead(self.read(sources))) as questions,
            closing(ahead(self.ask(questions))) as answers,
        ):
            for answer in answers:
                if isinstance(answer, Answer) and "overlay" in self.formats:
                    answer = attempt(answer.path, partial(self.draw, answer))
                if isinstance(answer, Fault):
                    self.failed += 1
                    self.complain(answer.sentence)
                    continue
                self.done += 1
                self.say(f"{places[answer.path]} {self.line(answer)}")
                yield answer

    def read(self, sources: dict[Path, list[Path]]) -> Iterator[Question | Fault]:
        """What there is in every source, one after the other."""
        names = name_apart(list(sources))
        for (path, frames), name in zip(sources.items(), names, strict=True):
            questions = self.read_source(path, frames, name)
            start = time.perf_counter()
            while question := attempt(path, partial(next, questions, None)):
                if isinstance(question, Question):
                    question = question._replace(seconds=time.perf_counter() - start)
                yield question
                start = time.perf_counter()

    def read_source(self, path: Path, frames: list[Path], name: str) -> Iterator[Question]:
        """A picture or a clip; a model of pictures takes a video frame by frame."""
        stem = Path(name).stem
        if self.predictor.takes_clips:
            clip, _ = read_frames(frames or path)
            numbers = (f"{number:05d}.png" for number in range(len(clip)))
            own = [frame.name for frame in frames] or numbers
            yield Question(path, [f"{stem}/{frame}" for frame in own], str(path), clip)
        elif is_video(path):
            for number, frame in enumerate(read_video(path)):
                yield Question(path, [f"{stem}/{number:05d}.png"], f"{path} frame {number}", frame)
        else:
            image = read_image(path)
            pictures = count_frames(path)
            note = f" (the first of {pictures} pictures of the file)" if pictures > 1 else ""
            yield Question(path, [name], f"{path}{note}", image)

    def ask(self, questions: Iterator[Question | Fault]) -> Iterator[Answer | Fault]:
        """What the model says of each."""
        for question in questions:
            if isinstance(question, Question):
                yield attempt(question.path, partial(self.answer, question))
            else:
                yield question

    def answer(self, question: Question) -> Answer:
        """What the model says of one."""
        start = time.perf_counter()
        path, frames, shown, pixels, seconds = question
        result = self.predictor.answer(pixels, str(path), self.task, self.threshold)
        return Answer(path, frames, shown, result, seconds + time.perf_counter() - start)

    def draw(self, answer: Answer) -> Answer:
        """Save a drawing of every frame."""
        for number, frame in enumerate(answer.frames):
            path = self.output / "overlay" / Path(frame).with_suffix(".png")
            replace_file(path, answer.result.draw(number).save)
        return answer

    def line(self, answer: Answer) -> str:
        """What a person reads of one picture or clip."""
        result = answer.result
        height, width = result.image.shape[-3:-1]
        length = f", {len(answer.frames)} frames" if result.image.ndim == 4 else ""
        found = result.summary()
        if isinstance(result, InstanceResult) and len(result) == 0:
            found = f"nothing above score {self.threshold:g}"
        return (
            f"{answer.shown}: {width}x{height}{length}  {found}  ({answer.seconds * 1000:.0f} ms)"
        )


def write_label_maps(folder: Path, results: Iterable[tuple[str, SemanticMap]]) -> None:
    """One PNG of labels per picture."""
    for name, result in results:
        write_label_map(folder / Path(name).with_suffix(".png"), result.labels[0])


def name_apart(files: Sequence[Path]) -> list[str]:
    """A short name for every file, no two with one stem (results differ from it in the ending).

    It is the file's own; or has its folders as a prefix; or also a number, as `x.jpg` and `x.png`
    of one folder need.
    """
    count = Counter(file.stem for file in files)
    names: dict[str, str] = {}  # stem -> name
    for file in files:
        parts = [part for part in file.parts if part != file.anchor]
        stem = file.stem if count[file.stem] == 1 else "_".join([*parts[:-1], file.stem])
        name = stem = os.fsdecode(os.fsencode(stem)[-LONGEST_STEM:])
        number = 1
        while stem in names:
            number += 1
            stem = f"{name}_{number}"
        names[stem] = stem + file.suffix
    return list(names.values())
