"""The settings of the data -> an open data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

from mask2former import config as c
from mask2former.categories import Categories, Category, Color
from mask2former.config.recipes import nearest
from mask2former.data import (
    Cityscapes,
    ClassMaps,
    CocoInstances,
    CocoPanoptic,
    Dataset,
    LabelMaps,
    NumberedObjects,
    ObjectMaps,
    Relabelled,
    Separated,
    Shapes,
    YoloPolygons,
    YouTubeVIS,
)
from mask2former.data.class_files import CLASS_FILES, colors_by_name, read_class_file
from mask2former.data.listener import STRICT, Listener
from mask2former.rasters import reader

BLACK = (0, 0, 0)
NOBODY = -(2**31)
"""The class id of a colour that is named `void` and that nobody counts."""


def build_dataset(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    *,
    categories: Categories | None = None,
    listener: Listener = STRICT,
) -> Dataset:
    """Open all of one source. `categories` gives the labels, by name (a trained model's)."""
    if data.format is None:
        known = ", ".join(get_args(c.Format))
        raise ValueError(f"data.format is not set; it is one of {known}")
    if not data.merge and not data.ignore_classes:
        return _open(data, split, task, categories, listener)
    return Relabelled(
        _open(data, split, task, None, listener),
        merge=data.merge,
        ignore=data.ignore_classes,
        task=task,
        wanted=categories,
    )


def _open(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    categories: Categories | None,
    listener: Listener,
) -> Dataset:
    """Open a split, whose pictures are read with the channels of the settings.

    Semantic segmentation has one target a class, whatever tells the classes.
    """
    if data.format == "shapes":
        frames = 1 if data.clip is None else data.clip.frames
        return Shapes(200, task=task, frames=frames, categories=categories)
    dataset = _open_format(data, split, task, categories, listener)
    dataset.read = reader(data.channels)
    if task == "semantic" and not isinstance(dataset, LabelMaps):
        return ClassMaps(dataset)
    return dataset


def _open_format(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    categories: Categories | None,
    listener: Listener,
) -> Dataset:
    """Open the pictures and annotations of a split by the reader of their format."""
    if split.images is None or split.annotations is None:
        raise ValueError(
            "data.train.images and data.train.annotations (and the same of data.val) must be set"
        )
    root = data.root or Path()
    images, annotations = root / split.images, root / split.annotations
    names = None if split.names is None else root / split.names
    match data.format:
        case "coco":
            return CocoInstances(images, annotations, categories=categories, listener=listener)
        case "coco_panoptic":
            labels = None if split.labels is None else root / split.labels
            return CocoPanoptic(
                images, annotations, labels, categories=categories, listener=listener
            )
        case "yolo":
            known = read_classes(data.classes, root, categories)
            return YoloPolygons(images, annotations, known, names=names, listener=listener)
        case "cityscapes":
            known = read_classes(data.classes or _own_list(task, categories), root, categories)
            return Cityscapes(images, annotations, known, listener=listener)
        case "label_maps":
            return _open_label_maps(data, split, task, categories, listener)
        case "object_maps":
            named = data.classes or (ONE_CLASS if categories is None else None)
            known = read_classes(named, root, categories)
            return NumberedObjects(
                images,
                annotations,
                known,
                endings=data.endings,
                names=names,
                listener=listener,
            )
        case "voc":
            return _open_voc(data, split, task, categories, listener)
        case "youtube_vis":
            clip = data.clip or c.Clip()
            return YouTubeVIS(
                images,
                annotations,
                frames=clip.frames,
                reach=clip.reach,
                categories=categories,
                listener=listener,
            )
    raise AssertionError(data.format)


ONE_CLASS = (c.ClassEntry(id=0, name="object"),)
"""Of maps that number objects, where nobody names it."""


class MapClasses(NamedTuple):
    """What the pixels of label maps mean."""

    categories: Categories
    ignore: frozenset[int]
    colors: dict[Color, int] | None


def _open_maps(
    data: c.Data,
    split: c.Split,
    classes: MapClasses,
    wanted: Categories | None,
    listener: Listener,
) -> LabelMaps:
    """Maps of classes, with the labels that a trained model gives their names."""
    assert split.images is not None
    assert split.annotations is not None
    root, known = data.root or Path(), classes.categories
    return LabelMaps(
        root / split.images,
        root / split.annotations,
        known if wanted is None else known.in_order_of(wanted),
        ignore=classes.ignore,
        offset=data.offset,
        colors=classes.colors,
        endings=data.endings,
        names=None if split.names is None else root / split.names,
        listener=listener,
    )


def _open_label_maps(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    wanted: Categories | None,
    listener: Listener,
) -> Dataset:
    """Maps of classes, whose connected regions are objects where the settings say so."""
    classes = read_map_classes(data, wanted)
    if not data.separate:
        return _open_maps(data, split, classes, wanted, listener)
    known = classes.categories.names
    for name in data.separate:
        if name not in known:
            hint = nearest(name, known)
            raise ValueError(f"data.separate: the data has no class '{name}'{hint}")
    classes = classes._replace(
        categories=Categories(
            replace(one, is_thing=one.name in data.separate) for one in classes.categories
        )
    )
    if task == "semantic":
        return _open_maps(data, split, classes, wanted, listener)
    maps = _open_maps(data, split, classes, None, listener)
    return Separated(maps, task=task, wanted=wanted)


def _open_voc(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    wanted: Categories | None,
    listener: Listener,
) -> Dataset:
    """VOC's maps of classes, and of objects where the task needs them."""
    if task == "semantic":
        return _open_maps(data, split, read_map_classes(data, wanted), wanted, listener)
    if split.labels is None:
        raise ValueError(
            "data.train.labels (and the same of data.val) must name the folder of VOC's maps of "
            "objects, SegmentationObject"
        )
    maps = _open_maps(data, split, read_map_classes(data, wanted), None, listener)
    return ObjectMaps(maps, (data.root or Path()) / split.labels, task=task, wanted=wanted)


def _own_list(task: c.Task, wanted: Categories | None) -> str:
    """Cityscapes' list with the classes of a trained model, or else that of the task."""
    for name in ("cityscapes_panoptic", "cityscapes_instance"):
        if wanted is not None and set(wanted.names) == set(Categories.bundled(name).names):
            return name
    return f"cityscapes_{task}"


def read_classes(
    classes: c.ClassList | None, root: Path, wanted: Categories | None = None
) -> Categories:
    """A class list: entries of the settings, a file below `root`, or a bundled name.

    `wanted` gives the order of the labels, and the classes themselves where no list is set.
    """
    match classes:
        case None if wanted is not None:
            return wanted
        case None:
            raise ValueError(
                "label maps need data.classes: a JSON file of classes, or a bundled name"
            )
        case tuple():
            found = Categories.from_json([entry.model_dump() for entry in classes])
        case _ if Path(classes).suffix.lower() in CLASS_FILES:
            found = read_class_file(root / classes)
        case _:
            found = Categories.bundled(str(classes))
    return found if wanted is None else found.in_order_of(wanted)


def read_map_classes(data: c.Data, wanted: Categories | None = None) -> MapClasses:
    """What values or colours of label maps mean, with the background as the settings have it."""
    root = data.root or Path()
    if data.colors is None:
        # The order of a trained model's labels comes last, when the background is settled.
        own = wanted if data.classes is None else None
        categories, colors = read_classes(data.classes, root, own), None
    else:
        categories, colors = _classes_of_colors(data, data.colors, root)
    ignore = frozenset(data.ignore)
    if data.background == "none":
        return MapClasses(categories, ignore, colors)
    zero = data.offset if colors is None else colors.get(BLACK, -1)
    named = [k.id for k in categories if k.name.lower() in ("background", "_background_")]
    number = named[0] if named else zero
    if data.background == "void":
        categories = Categories(k for k in categories if k.id != number)
        ignore |= {number - data.offset}
    else:
        ignore -= {number - data.offset}
        if number not in categories.label_of:
            stuff = Category(number, "background", BLACK, is_thing=False)
            categories = Categories([stuff, *categories])
    if colors is not None and not named:
        colors = {BLACK: number, **colors}
    return MapClasses(categories, ignore, colors)


def _classes_of_colors(
    data: c.Data, colors: Path | dict[str, Color], root: Path
) -> tuple[Categories, dict[Color, int]]:
    """The classes that have colours, and the class id of each colour."""
    named = colors if isinstance(colors, dict) else colors_by_name(root / colors)
    twice = [name for name, color in named.items() if list(named.values()).count(color) > 1]
    if twice:
        raise ValueError(f"data.colors: {' and '.join(twice[:2])} have one colour")
    if data.classes is None:
        categories = Categories(
            Category(place, name, color)
            for place, (name, color) in enumerate(named.items())
            if name != "void"
        )
    else:
        categories = read_classes(data.classes, root)
        for category in categories:
            if category.name not in named:
                hint = nearest(category.name, named)
                raise ValueError(f"data.colors has none for the class '{category.name}'{hint}")
    id_of = {"void": NOBODY} | {category.name: category.id for category in categories}
    strange = next((name for name in named if name not in id_of), None)
    if strange is not None:
        hint = nearest(strange, id_of)
        raise ValueError(f"data.colors: data.classes has no class '{strange}'{hint}")
    return categories, {color: id_of[name] for name, color in named.items()}
