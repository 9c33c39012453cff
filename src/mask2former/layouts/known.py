"""Data sets with folders of their own names: Cityscapes and Pascal VOC."""

from __future__ import annotations

from pathlib import Path

from mask2former.categories import Categories
from mask2former.config import ClassEntry, Data, Split
from mask2former.data.class_files import read_class_file
from mask2former.files import pictures_below, read_mode
from mask2former.layouts.found import Explicit, Found, NotThisError
from mask2former.layouts.places import SplitWord, split_of, subfolders
from mask2former.layouts.splits import say_splits

RIM = (224, 224, 192)
"""What VOC's palette paints between objects, where nobody counts."""


def cityscapes(root: Path, _: Explicit) -> Found:
    """Recognise Cityscapes' plain download, `leftImg8bit` and `gtFine`."""
    images, labels = root / "leftImg8bit", root / "gtFine"
    missing = [folder.name for folder in (images, labels) if not folder.is_dir()]
    if missing:
        raise NotThisError(f"no folder {' and '.join(missing)}", near=len(missing) == 1)
    splits: dict[SplitWord | None, Split] = {
        split_of(folder.name): Split(
            images=folder.relative_to(root), annotations=(labels / folder.name).relative_to(root)
        )
        for folder in subfolders(images)
        if split_of(folder.name) and (labels / folder.name).is_dir()
    }
    if not splits:
        raise NotThisError("leftImg8bit and gtFine share no folder train or val", near=True)
    data, says = say_splits(root, splits)
    data = data.model_copy(update={"format": "cityscapes"})
    says.append("classes: Cityscapes' own of the task; what they leave out counts for nobody")
    return Found("Cityscapes as downloaded", data, ("panoptic", "semantic", "instance"), says)


def voc(root: Path, _: Explicit) -> Found:
    """Recognise Pascal VOC, and what CVAT and others export as its masks."""
    images, labels = root / "JPEGImages", root / "SegmentationClass"
    missing = [folder.name for folder in (images, labels) if not folder.is_dir()]
    if missing:
        raise NotThisError(f"no folder {' and '.join(missing)}", near=missing == ["JPEGImages"])
    first = next(pictures_below(labels), None)
    if first is None:
        raise NotThisError("no picture in SegmentationClass", near=True)
    objects = root / "SegmentationObject"
    has_objects = objects.is_dir() and next(pictures_below(objects), None) is not None
    whole = Split(
        images=images.relative_to(root),
        annotations=labels.relative_to(root),
        labels=objects.relative_to(root) if has_objects else None,
    )
    lists = _lists(root)
    splits = {
        word: whole.model_copy(update={"names": path.relative_to(root)})
        for word, path in lists.items()
    }
    data, says = say_splits(root, splits or {None: whole})
    data, more = _with_classes(data, root, first)
    says = [*says, *more, "the background is a class (data.background=void makes it nobody's)"]
    if has_objects:
        says.append("instance segmentation has the objects of SegmentationObject, no background")
        return Found("Pascal VOC", data, ("semantic", "instance", "panoptic"), says)
    return Found("Pascal VOC without SegmentationObject", data, ("semantic",), says)


def _lists(root: Path) -> dict[SplitWord | None, Path]:
    """The text files that name the pictures of each split; `default.txt` is CVAT's of all."""
    folder = root / "ImageSets" / "Segmentation"
    files = sorted(f for f in folder.glob("*.txt") if not f.name.startswith("."))
    found: dict[SplitWord | None, Path] = {split_of(f.stem): f for f in files if split_of(f.stem)}
    if not found and len(files) == 1:
        found[None] = files[0]
    return found


def _with_classes(data: Data, root: Path, label_map: Path) -> tuple[Data, list[str]]:
    """The classes of `labelmap.txt` or `class_names.txt`, or VOC's own, and how maps show them."""
    path = next((p for n in ("labelmap.txt", "class_names.txt") if (p := root / n).is_file()), None)
    listed = Categories.bundled("voc") if path is None else read_class_file(path)
    source = "Pascal VOC's 20 and the background" if path is None else path.name
    entries = tuple(
        ClassEntry(id=k.id, name=k.name, color=k.color, is_thing=k.name.strip("_") != "background")
        for k in listed
    )
    says = [f"{len(listed)} classes: {source}"]
    update: dict[str, object] = {"format": "voc", "classes": entries}
    is_cvat = path is not None and path.name == "labelmap.txt"
    if is_cvat or read_mode(label_map) not in ("L", "P"):
        colors = {k.name: k.color for k in listed}
        if RIM not in colors.values():
            colors["void"] = RIM
        update["colors"] = colors
        says.append("maps are in colours; the rims between objects count for nobody")
    else:
        says.append("the value 255 counts for nobody")
    return data.model_copy(update=update), says
