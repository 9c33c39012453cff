"""The settings of the data -> an open data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

from mask2former import config as c
from mask2former.categories import Categories
from mask2former.config.recipes import nearest
from mask2former.data import (
    Cityscapes,
    ClassMaps,
    CocoInstances,
    CocoPanoptic,
    Dataset,
    LabelMaps,
    LabelmeShapes,
    NumberedObjects,
    ObjectMaps,
    PaintedObjects,
    Relabelled,
    Separated,
    Shapes,
    YoloPolygons,
    YouTubeVIS,
)
from mask2former.data.class_lists import MapClasses, read_classes, read_map_classes
from mask2former.data.class_maps import BACKGROUNDS, find_background, without_background
from mask2former.data.listener import STRICT, Listener
from mask2former.rasters import reader


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
    has_rest = _has_background(data, task, categories)
    if not has_rest:
        data = data.model_copy(update={"background": "void"})
    is_plain = not data.merge and not data.ignore_classes
    dataset = _open(data, split, task, categories if is_plain else None, listener)
    if not is_plain:
        dataset = Relabelled(
            dataset,
            merge=data.merge,
            ignore=data.ignore_classes,
            task=task,
            wanted=categories,
        )
    if not has_rest:
        said = "the model has no class background, so what is no object counts for nobody"
        dataset.notes = [*dataset.notes, said]
    return dataset


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
    own = categories
    if paints(data, task) and (data.format == "coco" or data.classes is not None):
        own = None  # the data names its objects, and their map has the model's classes
    dataset = _open_format(data, split, task, own, listener)
    dataset.read = reader(data.channels)
    if paints(data, task):
        background = "void" if data.background == "void" else "class"
        return PaintedObjects(dataset, background=background, wanted=categories)
    if task == "semantic" and not isinstance(dataset, LabelMaps):
        return ClassMaps(dataset)
    return dataset


def paints(data: c.Data, task: c.Task) -> bool:
    """Whether the class of every pixel is painted from objects."""
    return task == "semantic" and data.format in c.OBJECT_FORMATS


def _has_background(data: c.Data, task: c.Task, categories: Categories | None) -> bool:
    """False where what is no object can be of no class, as a trained model has none for it."""
    if data.background != "none" and data.format in c.OBJECT_FORMATS and task != "semantic":
        raise ValueError(
            f"data.background={data.background} is for semantic segmentation; of {data.format} "
            f"test.task={task} learns objects alone"
        )
    if not paints(data, task) or data.background != "none" or categories is None:
        return True
    used = {name.lower() for names in (*data.merge.values(), data.ignore_classes) for name in names}
    return find_background(categories) is not None or bool(used & BACKGROUNDS)


class Paths(NamedTuple):
    """Where a split is."""

    images: Path
    annotations: Path
    names: Path | None

    @classmethod
    def of(cls, data: c.Data, split: c.Split) -> Paths:
        """Below the data's root; ValueError where the settings leave a path out."""
        if split.images is None or split.annotations is None:
            raise ValueError(
                "data.train.images and data.train.annotations (and the same of data.val) must be "
                "set"
            )
        root = data.root or Path()
        names = None if split.names is None else root / split.names
        return cls(root / split.images, root / split.annotations, names)


def _open_format(
    data: c.Data,
    split: c.Split,
    task: c.Task,
    categories: Categories | None,
    listener: Listener,
) -> Dataset:
    """Open the pictures and annotations of a split by the reader of their format."""
    root, (images, annotations, _) = data.root or Path(), Paths.of(data, split)
    match data.format:
        case "coco_panoptic":
            labels = None if split.labels is None else root / split.labels
            return CocoPanoptic(
                images, annotations, labels, categories=categories, listener=listener
            )
        case "cityscapes":
            known = read_classes(data.classes or _own_list(task, categories), root, categories)
            return Cityscapes(images, annotations, known, listener=listener)
        case "label_maps":
            return _open_label_maps(data, split, task, categories, listener)
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
    return _open_objects(data, split, categories, listener)


def _open_objects(
    data: c.Data, split: c.Split, categories: Categories | None, listener: Listener
) -> Dataset:
    """Open annotations of objects alone."""
    root, (images, annotations, names) = data.root or Path(), Paths.of(data, split)
    listed = data.classes
    match data.format:
        case "coco":
            return CocoInstances(images, annotations, categories=categories, listener=listener)
        case "yolo":
            known = read_classes(listed, root, categories)
            return YoloPolygons(images, annotations, known, names=names, listener=listener)
        case "labelme":
            is_told = listed is not None or categories is not None
            known = read_classes(listed, root, categories) if is_told else None
            return LabelmeShapes(images, annotations, known, names=names, listener=listener)
        case "object_maps":
            named = listed or (ONE_CLASS if categories is None else None)
            return NumberedObjects(
                images,
                annotations,
                read_classes(named, root, without_background(categories)),
                endings=data.endings,
                names=names,
                listener=listener,
            )
    raise AssertionError(data.format)


ONE_CLASS = (c.ClassEntry(id=0, name="object"),)
"""Of maps that number objects, where nobody names it."""


def _open_maps(
    data: c.Data,
    split: c.Split,
    classes: MapClasses,
    wanted: Categories | None,
    listener: Listener,
) -> LabelMaps:
    """Maps of classes, with the labels that a trained model gives their names."""
    known, (images, annotations, names) = classes.categories, Paths.of(data, split)
    return LabelMaps(
        images,
        annotations,
        known if wanted is None else known.in_order_of(wanted),
        ignore=classes.ignore,
        offset=data.offset,
        colors=classes.colors,
        endings=data.endings,
        names=names,
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
