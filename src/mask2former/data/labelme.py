"""labelme's JSON files: one beside each picture, with the shapes that a person drew."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mask2former import rle
from mask2former.categories import Categories
from mask2former.config.recipes import nearest
from mask2former.data.chosen import choose_files
from mask2former.data.coco import paint_layers
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.drawn import WITHOUT_AREA, check_shape, draw
from mask2former.data.listener import STRICT, Listener
from mask2former.faults import excerpt
from mask2former.files import files_below, pictures_below, read_json, read_size
from mask2former.structures import Sample, TrueInstance, Truth


class Drawing(NamedTuple):
    """One JSON file."""

    path: Path
    picture: Path
    size: tuple[int, int] | None  # height and width, where it tells them
    objects: bytes  # a line of JSON: of each object its class's name and its shapes


class LabelmeShapes(Dataset):
    """A folder of JSON files, and the pictures that they name or that have their names.

    Shapes of one label and `group_id` are one object. The classes are the labels in sorted order,
    or `categories`, by their names. A picture without a file is not annotated yet, and left out.
    `names` is a text file that names the pictures to take.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        categories: Categories | None = None,
        *,
        names: Path | None = None,
        listener: Listener = STRICT,
    ) -> None:
        self._listener = listener
        self._folder, root = Path(annotations), Path(images)
        files = drawings_below(self._folder)
        if not files:
            raise ValueError(f"{annotations}: there is no JSON file of labelme")
        if names is not None:
            files = choose_files(files, names)
        pictures = {
            file.relative_to(root).with_suffix("").as_posix(): file
            for file in sorted(pictures_below(root), reverse=True)
        }
        self._kinds: Counter[str] = Counter()
        read = self._read_all(files, pictures, root)
        labels = {label for one in read for label, _ in json.loads(one.objects)}
        if categories is None:
            if not labels:
                raise ValueError(f"{annotations}: no shape in its {len(read)} files has an area")
            listed = enumerate(sorted(labels))
            categories = Categories.from_json([{"id": k, "name": name} for k, name in listed])
        self.categories = categories
        self._label_of = {name: label for label, name in enumerate(categories.names)}
        self._drawings = [one for one in read if self._knows_labels(one)]
        unused = len({*pictures.values()} - {one.picture for one in read}) if names is None else 0
        self.notes = list(self._note(unused))

    def __len__(self) -> int:
        return len(self._drawings)

    def file(self, index: int) -> Path:
        return self._drawings[index].picture

    def sample(self, index: int) -> Sample:
        image = self.image(index)
        objects = list(self._objects(index, image.shape[:2]))
        layers, kept = paint_layers([found.rle for found in objects], image.shape[:2])
        name = self._drawings[index].path.relative_to(self._folder).with_suffix("").as_posix()
        return as_sample(image[None], layers[:, None], [objects[k].label for k in kept], name)

    def truth(self, index: int) -> Truth:
        size = read_size(self.file(index))
        return Truth(size, instances=list(self._objects(index, size)))

    def labels(self, index: int) -> list[int]:
        return [self._label_of[label] for label, _ in json.loads(self._drawings[index].objects)]

    def _objects(self, index: int, size: tuple[int, int]) -> Iterator[TrueInstance]:
        path, picture, said, objects = self._drawings[index]
        if said is not None and said != size:
            raise ValueError(
                f"{picture}: the file is {size[1]} x {size[0]} pixels, but {path} says "
                f"{said[1]} x {said[0]}"
            )
        for label, shapes in json.loads(objects):
            mask = draw(shapes, size, f"{path}: '{label}'")
            area = rle.area(mask)
            if area:
                yield TrueInstance(mask, self._label_of[label], area, is_crowd=False)
            else:
                sentence = f"{path}: '{label}' covers no pixel of its picture and is left out"
                self._listener.skip(path, label, sentence)

    def _read_all(
        self, files: Mapping[str, Path], pictures: Mapping[str, Path], root: Path
    ) -> list[Drawing]:
        """The files that are sound; a fault for every other one."""
        found: dict[Path, Drawing] = {}
        for name, path in files.items():
            try:
                drawing = self._read(path, pictures, root, name)
                if drawing.picture in found:
                    other = found[drawing.picture].path
                    raise ValueError(f"{path} and {other.name} are of one picture; keep one")
                found[drawing.picture] = drawing
            except ValueError as error:
                self._listener.fault(path, "", error)
        return list(found.values())

    def _read(self, path: Path, pictures: Mapping[str, Path], root: Path, name: str) -> Drawing:
        document = read_json(path)
        picture = find_picture(document, path, root) or pictures.get(name)
        if picture is None:
            said = excerpt(document.get("imagePath"))
            raise ValueError(
                f"{path}: its picture {said} is neither there nor in {root}; put it there"
            )
        match document:
            case {"imageHeight": int() as height, "imageWidth": int() as width}:
                size = height, width
            case _:
                size = None
        objects = join_shapes(self._sound_shapes(document, path))
        return Drawing(path, picture, size, json.dumps(objects).encode())

    def _sound_shapes(self, document: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
        shapes = document.get("shapes")
        if not isinstance(shapes, list):
            raise ValueError(f"{path}: there is no list of 'shapes'; is it a file of labelme?")
        for number, shape in enumerate(shapes, start=1):
            try:
                kind = check_shape(shape, f"{path}: shape {number}")
            except ValueError as error:
                self._listener.fault(path, f"shape {number}", error)
                continue
            self._kinds[kind] += 1
            if kind in WITHOUT_AREA:
                sentence = f"{path}: shape {number} is a {kind} without area and is left out"
                self._listener.skip(path, f"shape {number}", sentence)
            else:
                yield shape

    def _knows_labels(self, drawing: Drawing) -> bool:
        """Whether all labels of a file are classes."""
        for label, _ in json.loads(drawing.objects):
            if label not in self._label_of:
                fault = ValueError(
                    f"{drawing.path}: the label '{label}' is no class of the list"
                    f"{nearest(label, self._label_of)}; data.classes names all of them"
                )
                self._listener.fault(drawing.path, f"'{label}'", fault)
                return False
        return True

    def _note(self, unused: int) -> Iterator[str]:
        if unused:
            yield f"{self._folder}: {unused} pictures have no file of labelme and are left out"
        bare = WITHOUT_AREA & self._kinds.keys()
        count = sum(self._kinds[kind] for kind in bare)
        if count:
            kinds = " and ".join(sorted(bare))
            yield f"{self._folder}: {count} shapes have no area ({kinds}) and are left out"
        if self._kinds["rectangle"] and self._kinds.keys() - bare == {"rectangle"}:
            yield f"{self._folder}: every shape is a rectangle, so that boxes are learnt, not masks"


def drawings_below(folder: Path) -> dict[str, Path]:
    """labelme's files by their path below a folder, without the file type; a list of classes is
    none."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for file in sorted(files_below(folder))
        if file.suffix.lower() == ".json" and file.stem != "classes"
    }


def find_picture(document: Mapping[str, Any], path: Path, images: Path) -> Path | None:
    """The picture that a file names: from its own place on, or in the folder of pictures."""
    match document.get("imagePath"):
        case str() as said if 0 < len(said) < 1024:
            way = Path(said.replace("\\", "/"))
            for found in (path.parent / way, images / way.name):
                if found.is_file():
                    short = Path(os.path.normpath(found))
                    return short if short.is_file() and short.samefile(found) else found
    return None


def join_shapes(shapes: Iterator[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Objects, each the name of its class and its shapes: those of one label and group."""
    objects: dict[tuple, tuple[str, list[dict[str, Any]]]] = {}
    for number, shape in enumerate(shapes):
        label, group = shape["label"], shape.get("group_id")
        key = (label, "alone", number) if group is None else (label, "group", str(group))
        kept = {k: shape[k] for k in ("shape_type", "points", "mask") if k in shape}
        objects.setdefault(key, (label, []))[1].append(kept)
    return list(objects.values())
