"""Segment files, folders, globs and videos into a folder of results."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mask2former.config import Task
from mask2former.data.transforms import shorten
from mask2former.engine.pipeline import ahead, in_turn
from mask2former.engine.predict import Predictor
from mask2former.engine.sources import read_frames
from mask2former.engine.stops import patient_keyboard
from mask2former.engine.tiles import Tiling
from mask2former.faults import explain, naming
from mask2former.files import count_frames, files_below, is_picture
from mask2former.frames import by_number, is_video, read_video
from mask2former.results import InstanceResult, PictureResult
from mask2former.saving import (
    CLIP_FORMATS,
    FORMATS,
    OVERLAY,
    RESULTS,
    Record,
    choose_formats,
)
from mask2former.writing import make_folder, replace_file

T = TypeVar("T")

LONGEST_STEM = 230
"""Bytes of a name's stem; with number and ending it stays below the 255 of all file systems."""


def find_pictures(
    sources: Sequence[str], *, output: Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """The picture files that paths, folders (with all below them) and globs name, sorted in each.

    A file that is named stays in the list even if it is no picture: reading it says why. What an
    earlier run wrote below `output` is left out of folders and globs.
    """
    results = set() if output is None else {real(output / name) for name in RESULTS}
    found: dict[Path, None] = {}
    left_out: set[Path] = set()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside, others = tell_pictures(path)
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


def tell_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder and of all below it, and its other files."""
    found: dict[bool, list[Path]] = {True: [], False: []}
    for path in sorted(files_below(folder)):
        found[is_picture(path)].append(path)
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

    While a result is written, the network is at the next picture, and the one after that is read;
    but pictures in tiles, which may be huge, are in memory one at a time.
    """

    predictor: Predictor
    task: Task
    output: Path
    threshold: float | None = None
    formats: Sequence[str] = ()
    say: Callable[[str], None] = print
    complain: Callable[[str], None] = print
    tiling: Tiling | None = None
    written: list[str] = field(default_factory=list)
    failed: int = 0
    done: int = 0
    shrunk: float = 1.0

    def __post_init__(self) -> None:
        if self.tiling is not None and self.predictor.takes_clips:
            raise ValueError("--tile is for pictures, and this model takes clips; leave it out")
        self.known = CLIP_FORMATS if self.predictor.takes_clips else FORMATS
        self.formats = choose_formats(self.formats, self.task, self.known)
        if self.threshold is None and self.task == "instance":
            self.threshold = self.predictor.card.config.test.show_threshold

    def run(self, files: Sequence[Path]) -> None:
        """Segment and save every file."""
        make_folder(self.output)
        below = paths_below(files)
        chosen = [self.known[name] for name in self.formats if name != OVERLAY]
        with patient_keyboard() as look_for_keyboard, ExitStack() as stack:
            writers = [
                stack.enter_context(form.write(self.output, self.predictor.categories))
                for form in chosen
            ]
            for answer in self.answers(files):
                source, picture = (answer.path, below[answer.path]) if alone(answer) else (None, "")
                record = Record(answer.frames, answer.result.plain, source, picture)
                for add in writers:
                    add(record)
                del answer, record
                look_for_keyboard()
        places = [self.output / place for form in chosen for place in form.places]
        self.written += [str(place) for place in places if place.is_file()]
        if self.done:
            drawn = [self.output / OVERLAY] if OVERLAY in self.formats else []
            self.written += [f"{place}/" for place in [*drawn, *places] if place.is_dir()]

    def answers(self, files: Sequence[Path]) -> Iterator[Answer]:
        """One answer after the other, drawn and told of."""
        clips = self.predictor.takes_clips
        sources = group_clips(files) if clips else {file: [file] for file in files}
        places = {path: f"{place}/{len(sources)}" for place, path in enumerate(sources, start=1)}
        stage = ahead if self.tiling is None else in_turn
        with (
            closing(stage(self.read(sources))) as questions,
            closing(stage(self.ask(questions))) as answers,
        ):
            for answer in answers:
                if isinstance(answer, Answer) and OVERLAY in self.formats:
                    answer = attempt(answer.path, partial(self.draw, answer))
                if isinstance(answer, Fault):
                    self.failed += 1
                    self.complain(answer.sentence)
                    continue
                self.done += 1
                self.say(f"{places[answer.path]} {self.line(answer)}")
                yield answer
                del answer  # before the next picture is read

    def read(self, sources: dict[Path, list[Path]]) -> Generator[Question | Fault, None, None]:
        """What there is in every source, one after the other."""
        names = name_apart(list(sources))
        for (path, frames), name in zip(sources.items(), names, strict=True):
            questions = self.read_source(path, frames, name)
            start = time.perf_counter()
            while question := attempt(path, partial(next, questions, None)):
                if isinstance(question, Question):
                    question = question._replace(seconds=time.perf_counter() - start)
                yield question
                del question
                start = time.perf_counter()

    def read_source(self, path: Path, frames: list[Path], name: str) -> Iterator[Question]:
        """A picture or a clip; a model of pictures takes a video frame by frame."""
        stem = Path(name).stem
        if self.predictor.takes_clips:
            clip, _ = read_frames(frames or path, self.predictor.channels)
            numbers = (f"{number:05d}.png" for number in range(len(clip)))
            own = [frame.name for frame in frames] or numbers
            yield Question(path, [f"{stem}/{frame}" for frame in own], str(path), clip)
        elif is_video(path):
            for number, frame in enumerate(read_video(path)):
                yield Question(path, [f"{stem}/{number:05d}.png"], f"{path} frame {number}", frame)
        else:
            image = self.predictor.read(path)
            pictures = count_frames(path) if self.predictor.channels is None else 1
            note = f" (the first of {pictures} pictures of the file)" if pictures > 1 else ""
            yield Question(path, [name], f"{path}{note}", image)

    def ask(self, questions: Iterator[Question | Fault]) -> Generator[Answer | Fault, None, None]:
        """What the model says of each."""
        for question in questions:
            if isinstance(question, Question):
                question = attempt(question.path, partial(self.answer, question))
            yield question
            del question

    def answer(self, question: Question) -> Answer:
        """What the model says of one."""
        start = time.perf_counter()
        path, frames, shown, pixels, seconds = question
        result = self.predictor.answer(pixels, str(path), self.task, self.threshold, self.tiling)
        return Answer(path, frames, shown, result, seconds + time.perf_counter() - start)

    def draw(self, answer: Answer) -> Answer:
        """Save a drawing of every frame."""
        for number, frame in enumerate(answer.frames):
            path = self.output / OVERLAY / Path(frame).with_suffix(".png")
            replace_file(path, answer.result.draw(number).save)
        return answer

    def shrinks(self, size: tuple[int, int]) -> float:
        """How many times larger a picture is than the network sees it."""
        test = self.predictor.card.config.test
        return (
            1.0 if self.tiling else min(size) / min(shorten(size, test.short_edge, test.max_size))
        )

    def line(self, answer: Answer) -> str:
        """What a person reads of one picture or clip."""
        result = answer.result
        height, width = result.image.shape[-3:-1]
        self.shrunk = max(self.shrunk, self.shrinks((height, width)))
        length = f", {len(answer.frames)} frames" if result.image.ndim == 4 else ""
        found = result.summary()
        if isinstance(result, InstanceResult) and len(result) == 0:
            found = f"nothing above score {self.threshold:g}"
        return (
            f"{answer.shown}: {width}x{height}{length}  {found}  ({answer.seconds * 1000:.0f} ms)"
        )


def alone(answer: Answer) -> bool:
    """Whether an answer is about a picture that is a file of its own."""
    return len(answer.frames) == 1 and answer.path.is_file() and not is_video(answer.path)


def paths_below(files: Sequence[Path]) -> dict[Path, str]:
    """The path of every file below the folder that all of them are in."""
    try:
        common = os.path.commonpath([file.absolute().parent for file in files] or [""])
    except ValueError:  # on several drives
        return {file: file.name for file in files}
    return {file: file.absolute().relative_to(common).as_posix() for file in files}


def name_apart(files: Sequence[Path]) -> list[str]:
    """A short name for every file, no two with one stem (results differ from it in the ending).

    It is the file's own; or has its folders as a prefix; or also a number, as `x.jpg` and `x.png`
    of one folder need.
    """
    count = Counter(file.stem.casefold() for file in files)
    names: dict[str, str] = {}  # stem, as a file system reads it that knows no case -> name
    for file in files:
        parts = [part for part in file.parts if part != file.anchor]
        stem = file.stem if count[file.stem.casefold()] == 1 else "_".join([*parts[:-1], file.stem])
        name = stem = os.fsdecode(os.fsencode(stem)[-LONGEST_STEM:])
        number = 1
        while stem.casefold() in names:
            number += 1
            stem = f"{name}_{number}"
        names[stem.casefold()] = stem + file.suffix
    return list(names.values())
