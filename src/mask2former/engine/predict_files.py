"""Segment files, folders and globs into a folder of results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mask2former.config import Task
from mask2former.engine.predict import Predictor
from mask2former.files import PICTURE_SUFFIXES, write_coco, write_label_map, write_panoptic
from mask2former.results import InstanceResult, PictureResult
from mask2former.structures import Result, SemanticMap

FORMATS: dict[Task, tuple[str, ...]] = {
    "instance": ("overlay", "coco"),
    "panoptic": ("overlay", "panoptic"),
    "semantic": ("overlay", "labels"),
}
"""What can be saved of each task; all of it unless the person chooses."""
RESULT_FOLDERS = ("overlay", "labels", "panoptic")
"""Where below the output pictures are written."""


def find_pictures(
    sources: Sequence[str], *, output: Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """The picture files that paths, folders (with all below them) and globs name, sorted in each.

    A file that is named stays in the list even if it is no picture: reading it says why. What an
    earlier run wrote below `output` is left out of folders and globs.
    """
    results = set() if output is None else {(output / name).resolve() for name in RESULT_FOLDERS}
    found: dict[Path, None] = {}
    left_out: set[Path] = set()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise ValueError(f"the folder {path} holds no picture")
        elif path.exists():
            inside = [path]
        else:
            anchor = Path(path.anchor)
            matches = anchor.glob(str(path.relative_to(anchor)))
            inside = sorted(match for match in matches if match.is_file())
            if not inside:
                raise ValueError(f"{source}: no such file, and no file matches it as a pattern")
        old = {p for p in inside if p != path and not results.isdisjoint(p.resolve().parents)}
        left_out |= old
        found |= dict.fromkeys(p for p in inside if p not in old)
    if left_out:
        say(f"{len(left_out)} earlier results below {output} are left out")
    if not found:
        raise ValueError(f"{', '.join(sources)}: nothing but results of an earlier run")
    return list(found)


@dataclass
class Session:
    """One run over many files. What cannot be read is told and counted, and the others go on."""

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
        possible = FORMATS[self.task]
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
        self.output.mkdir(parents=True, exist_ok=True)
        names = name_apart(files)
        # The writers draw results one by one, so that only one is in memory at a time.
        results: Iterator[Any] = self.results(files, names)
        categories = self.predictor.categories
        if "coco" in self.formats:
            self.written.append(str(write_coco(self.output / "coco.json", results, categories)))
        elif "panoptic" in self.formats:
            self.written.append(str(write_panoptic(self.output, results, categories)))
        elif "labels" in self.formats:
            write_label_maps(self.output / "labels", results)
        else:
            for _ in results:  # they are drawn on the way
                pass
        for kind in ("overlay", "labels"):
            if kind in self.formats and self.done:
                self.written.append(f"{self.output / kind}/")

    def results(self, files: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, Result]]:
        """One result after the other, drawn and told of."""
        for position, (file, name) in enumerate(zip(files, names, strict=True), start=1):
            start = time.perf_counter()
            try:
                result = self.predictor(file, self.task, self.threshold)
            except ValueError as error:
                self.failed += 1
                self.complain(str(error))
                continue
            seconds = time.perf_counter() - start
            self.done += 1
            if "overlay" in self.formats:
                result.save(self.output / "overlay" / Path(name).with_suffix(".png"))
            self.say(self.line(position, len(files), file, result, seconds))
            yield name, result.plain

    def line(
        self, position: int, count: int, file: Path, result: PictureResult, seconds: float
    ) -> str:
        """What a person reads of one picture."""
        height, width = result.image.shape[:2]
        found = result.summary()
        if isinstance(result, InstanceResult) and len(result) == 0:
            found = f"nothing above score {self.threshold:g}"
        return f"{position}/{count} {file}: {width}x{height}  {found}  ({seconds * 1000:.0f} ms)"


def write_label_maps(folder: Path, results: Iterable[tuple[str, SemanticMap]]) -> None:
    """One PNG of labels per picture."""
    for name, result in results:
        path = folder / Path(name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_label_map(path, result.labels[0])


def name_apart(files: Sequence[Path]) -> list[str]:
    """A short name for every file, no two with one stem (results differ from it in the ending).

    It is the file's own; or has its folders as a prefix; or also a number, as `x.jpg` and `x.png`
    of one folder need.
    """
    count = Counter(file.stem for file in files)
    names: dict[str, str] = {}  # stem -> name
    for file in files:
        parts = [part for part in file.parts if part != file.anchor]
        name = stem = file.stem if count[file.stem] == 1 else "_".join([*parts[:-1], file.stem])
        number = 1
        while stem in names:
            number += 1
            stem = f"{name}_{number}"
        names[stem] = stem + file.suffix
    return list(names.values())
