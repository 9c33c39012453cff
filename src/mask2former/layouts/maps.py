"""Pictures with label maps: grey, palette or colours, in the many folders that people use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from mask2former.config import ClassEntry, Data, Split, Task
from mask2former.data.class_files import read_class_file
from mask2former.data.semantic import pair_files
from mask2former.files import pictures_below
from mask2former.layouts.classes import SAMPLE, VOID, find_list, name_classes
from mask2former.layouts.found import Explicit, Found, NotThisError, tasks_of_maps
from mask2former.layouts.places import (
    Place,
    SplitWord,
    find_places,
    role_of,
)
from mask2former.layouts.scan import number_objects, scan
from mask2former.layouts.splits import say_splits

LOSSY = (".jpg", ".jpeg", ".jfif", ".webp")
SEPARATORS = "_-. "
CANDIDATES = 50
"""Label maps that are compared with the first picture's name."""


class Pair(NamedTuple):
    """A folder of pictures, one of label maps, and what their names end in."""

    images: Path
    labels: Path
    endings: tuple[str, str]


def label_maps(root: Path, explicit: Explicit) -> Found:
    """Recognise folders of pictures and label maps; ADE20K as downloaded is one of them."""
    pairs = find_pairs(root, explicit.get("endings"))
    data, says = _place(root, pairs)
    data = data.model_copy(update={"format": "label_maps"})
    if (root / "objectInfo150.txt").is_file():
        data = data.model_copy(update={"classes": "ade20k_semantic", "offset": -1, "ignore": (0,)})
        says.append("values count the 150 classes from 1, and 0 counts for nobody")
        return Found("ADE20K as downloaded", data, ("semantic",), says)
    maps = _used_maps(pairs)
    if _number_objects(data, maps, explicit):
        return _as_objects(data, says, explicit)
    named = name_classes(data, maps, is_named="classes" in explicit)
    says += named.says
    layout = f"pictures with label maps in {named.form}"
    tasks = tasks_of_maps(explicit.get("separate"))
    return Found(layout, named.data, tasks, says, has_names=named.is_known)


def object_maps(root: Path, explicit: Explicit) -> Found:
    """The same folders where a person says that the maps number objects."""
    if "format" not in explicit:
        raise NotThisError("nobody says that maps number objects")
    return label_maps(root, explicit)


def _as_objects(data: Data, says: list[str], explicit: Explicit) -> Found:
    """Maps whose values are objects of one class, as Cellpose and `--save masks` write them."""
    listed = find_list(data)
    names = ["object"] if listed is None else read_class_file(listed).names
    says = [*says, "the values of the maps number objects, 0 is nobody"]
    if listed is None and "classes" not in explicit:
        says.append(f"all are of one class, '{names[0]}'; name it by data.classes=[NAME]")
    if "format" not in explicit:
        says.append("if they are classes instead, data.format=label_maps reads them so")
    classes = tuple(ClassEntry(id=number, name=name) for number, name in enumerate(names))
    data = data.model_copy(update={"format": "object_maps", "classes": classes})
    layout = "pictures with maps of numbered objects"
    # Who wants classes has maps of classes, if nobody says that they number objects.
    tasks: tuple[Task, ...] = ("instance", "semantic") if "format" in explicit else ("instance",)
    return Found(layout, data, tasks, says, has_names=listed is not None)


def _place(root: Path, pairs: Mapping[SplitWord | None, Pair]) -> tuple[Data, list[str]]:
    """The settings that say where pictures and maps are, and what to say of it."""
    endings = {pair.endings for pair in pairs.values()}
    if len(endings) > 1:
        raise NotThisError(
            f"the splits pair names by different endings, {sorted(endings)}", near=True
        )
    (ending,) = endings
    splits = {
        word: Split(images=pair.images.relative_to(root), annotations=pair.labels.relative_to(root))
        for word, pair in pairs.items()
    }
    data, says = say_splits(root, splits)
    if any(ending):
        says.append(f"names of pictures end in '{ending[0]}', of label maps in '{ending[1]}'")
    return data.model_copy(update={"endings": ending}), says


def _number_objects(data: Data, maps: Sequence[Path], explicit: Explicit) -> bool:
    """Whether the values of maps number objects: as a person says, or as they look.

    Who lists several classes, or separates some into objects, has maps of classes.
    """
    if "format" in explicit:
        return explicit["format"] == "object_maps"
    if explicit.get("separate"):
        return False
    match explicit.get("classes"), find_list(data):
        case ([_, _, *_] | {} | str(), _):
            return False
        case (None, Path() as listed) if len(read_class_file(listed)) > 1:
            return False
        case (None, Path()) if len(scan(maps[:SAMPLE]).values - {0, VOID}) > 1:
            return True  # of the one class that the list names
    return number_objects(maps)


def _used_maps(pairs: Mapping[SplitWord | None, Pair]) -> list[Path]:
    """The maps of all that is trained or measured on."""
    used = [pair for word, pair in pairs.items() if word != "test" or len(pairs) == 1]
    return [file for pair in used for file in maps_of(pair)]


def maps_of(pair: Pair) -> list[Path]:
    """The label maps of a pair's pictures; ValueError for pictures without one."""
    return [label_map for _, label_map in pair_files(pair.images, pair.labels, pair.endings)]


def find_pairs(root: Path, endings: Sequence[str] | None = None) -> dict[SplitWord | None, Pair]:
    """The folders of each split; NotThisError where there is no pair of them."""
    places = [place for place in find_places(root) if place.folder != root]
    labels = _by_split(
        [p for p in places if p.role == "labels" and next(pictures_below(p.folder), None)]
    )
    images = _by_split([p for p in places if p.role == "images"])
    plain = _by_split([p for p in places if p.role is None])
    images = {**plain, **images}
    pairs: dict[SplitWord | None, Pair] = {}
    for word in images if labels else ():
        if word in labels:
            pairs[word] = _pair(root, images[word], labels[word], endings)
    if pairs:
        return pairs
    for word, folder in (images or {None: root}).items():
        if next(pictures_below(folder), None) is not None:
            pairs[word] = _pair(root, folder, folder, endings)
    if not pairs:
        raise NotThisError("no folders of pictures and label maps (such as images and labels)")
    return pairs


def _by_split(places: Sequence[Place]) -> dict[SplitWord | None, Path]:
    """The one folder of each split."""
    folders: dict[SplitWord | None, Path] = {}
    for place in places:
        other = folders.setdefault(place.split, place.folder)
        if other != place.folder:
            raise NotThisError(
                f"{other.name} and {place.folder.name} may both hold {place.role or 'pictures'}; "
                "name one by data.train.images or data.train.annotations",
                near=True,
            )
    return folders


def _pair(root: Path, images: Path, labels: Path, endings: Sequence[str] | None) -> Pair:
    """Find what the names of pictures and maps end in, so that every picture has its map."""
    pictures, maps = _types_by_name(images), _types_by_name(labels)
    if endings is not None:
        found = [(endings[0], endings[1])]
    elif images == labels:
        found = _endings_of_one_folder(pictures)
    elif pictures.keys() <= maps.keys():
        found = [("", "")]
    else:
        found = _endings(sorted(pictures), maps)
    where = " and ".join(sorted({str(f.relative_to(root)) for f in (images, labels)}))
    if not found:
        raise NotThisError(
            f"the pictures in {where} have no label maps of their names (a.jpg with a.png, or with "
            "a_mask.png)",
            near=images != labels,
        )
    if len(found) > 1:
        choices = " or ".join(f"data.endings={list(ending)}" for ending in found)
        raise ValueError(f"{where}: every picture has several label maps; choose {choices}")
    pair = Pair(images, labels, found[0])
    lossy = next((f for f in islice(maps_of(pair), CANDIDATES) if f.suffix.lower() in LOSSY), None)
    if lossy is not None:
        raise ValueError(
            f"{lossy}: label maps in a lossy form have other values at the edges; save them as PNG"
        )
    return pair


def _types_by_name(folder: Path) -> dict[str, set[str]]:
    """The file types of every name below a folder."""
    types: dict[str, set[str]] = {}
    for file in pictures_below(folder):
        types.setdefault(file.relative_to(folder).with_suffix("").as_posix(), set()).add(
            file.suffix
        )
    return types


def _endings_of_one_folder(types: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The endings of pictures and maps that lie side by side: another type, or a word."""
    kinds = {tuple(sorted(found)) for found in types.values()}
    if len(kinds) == 1 and len(kind := kinds.pop()) == 2 and kind[1].lower() == ".png":
        return [(kind[0], kind[1])]
    maps = {name for name in types if role_of(_last_word(name)) == "labels"}
    pictures = sorted(types.keys() - maps)
    return _endings(pictures, maps) if pictures and maps else []


def _endings(pictures: Sequence[str], maps: Collection[str]) -> list[tuple[str, str]]:
    """The endings by which most pictures find a map; none where fewer than half do."""
    votes: dict[tuple[str, str], int] = {}
    alike = sorted(maps, key=lambda name: -_shared(pictures[0], name))
    for name in alike[:CANDIDATES]:
        length = _shared(pictures[0], name)
        ours, theirs = pictures[0][length:], name[length:]
        if length:
            votes[ours, theirs] = sum(
                picture.endswith(ours) and picture.removesuffix(ours) + theirs in maps
                for picture in pictures
            )
    most = max(votes.values(), default=0)
    return [
        ending for ending, count in votes.items() if count == most and 2 * most >= len(pictures)
    ]


def _shared(one: str, other: str) -> int:
    """How many characters two names share, to the end of a word in both."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    length = sum(1 for _ in alike)
    while length and not all(n[length : length + 1] in ("", *SEPARATORS) for n in (one, other)):
        length -= 1
    return length


def _last_word(name: str) -> str:
    return name[max(name.rfind(separator) for separator in SEPARATORS) + 1 :]
