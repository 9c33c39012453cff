"""Pictures with maps that number their objects, as Cellpose, StarDist and `--save masks` write."""

from __future__ import annotations

from pathlib import Path

from mask2former.config import ClassEntry
from mask2former.data.class_files import read_class_file
from mask2former.layouts.classes import find_list
from mask2former.layouts.found import Explicit, Found, NotThisError
from mask2former.layouts.maps import are_objects, find_pairs, place_pairs, used_maps


def object_maps(root: Path, explicit: Explicit) -> Found:
    """Recognise folders of pictures and of maps whose values are objects."""
    try:
        pairs = find_pairs(root, explicit.get("endings"))
        maps = used_maps(pairs)
    except ValueError as error:
        if "format" in explicit:
            raise
        raise NotThisError(str(error)) from None  # which is a fault of label maps already
    data, says = place_pairs(root, pairs)
    if not are_objects(data, maps, explicit):
        raise NotThisError("the values of the maps do not look like numbers of objects")
    listed = find_list(data)
    names = ["object"] if listed is None else read_class_file(listed).names
    says.append("the values of the maps number objects, 0 is nobody")
    if listed is None and "classes" not in explicit:
        says.append(f"all are of one class, '{names[0]}'; name it by data.classes=[NAME]")
    classes = tuple(ClassEntry(id=number, name=name) for number, name in enumerate(names))
    data = data.model_copy(update={"format": "object_maps", "classes": classes})
    layout = "pictures with maps of numbered objects"
    return Found(layout, data, ("instance",), says, has_names=listed is not None)
