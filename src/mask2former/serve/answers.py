"""What may be asked of a picture, and the forms in which the answer is sent."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, NamedTuple

from fastapi import HTTPException
from PIL import Image
from pydantic import Field

from mask2former.categories import Categories
from mask2former.config import Task
from mask2former.config.base import Settings, Share
from mask2former.config.inference import Test
from mask2former.files import as_label_map, to_json
from mask2former.results import PictureResult
from mask2former.saving.coco import polygons, run_lengths
from mask2former.saving.maps import number_map
from mask2former.saving.regions import Region, regions, size_of
from mask2former.structures import SemanticMap

FormName = Literal["json", "overlay", "labels", "ids", "geojson", "labelme"]
MasksName = Literal["polygons", "rle", "none"]


class Wish(Settings):
    """The query parameters of `/predict`."""

    task: Task | None = Field(None, description="what is predicted; default: the server's task")
    threshold: Share | None = Field(
        None, description="the score a region needs; default: the model's; none for semantic maps"
    )
    format: FormName = Field(
        "json",
        description="json; overlay: a drawing; labels: a PNG of every pixel's class, from 0; ids: a"
        " PNG of every pixel's region, numbered as in the JSON; geojson; labelme",
    )
    masks: MasksName | None = Field(
        None, description="of the JSON: polygons (the default), COCO's rle, or none"
    )


def settle(wish: Wish, task: Task, test: Test) -> Wish:
    """A wish with what it leaves open, by a server's task and a model's settings.

    HTTPException where its parameters do not go together.
    """
    task = wish.task or task
    if task == "semantic" and wish.threshold is not None:
        raise HTTPException(
            422, "threshold: a semantic map gives every pixel a class; leave it out"
        )
    if wish.masks is not None and wish.format != "json":
        raise HTTPException(422, f"masks is for format=json, not {wish.format}; leave it out")
    known = [name for name, form in FORMS.items() if task in form.tasks]
    if wish.format not in known:
        raise HTTPException(
            422, f"format={wish.format} cannot hold {task} results; choose {', '.join(known)}"
        )
    usual = {"instance": test.show_threshold, "panoptic": test.threshold, "semantic": None}
    threshold = usual[task] if wish.threshold is None else wish.threshold
    return wish.model_copy(update={"task": task, "threshold": threshold})


def document(result: PictureResult, wish: Wish) -> bytes:
    """JSON of all regions, in COCO's words."""
    height, width = size_of(result.plain)
    found = [describe(region, result, wish) for region in regions(result.plain)]
    head = {"task": wish.task, "threshold": wish.threshold, "width": width, "height": height}
    return to_json({**head, "regions": found}).encode()


def describe(region: Region, result: PictureResult, wish: Wish) -> dict[str, Any]:
    """An instance, a segment, or all pixels of a class."""
    category = result.categories[region.label]
    shape = SHAPES.get(wish.masks or "polygons")
    segmentation = {} if shape is None else {"segmentation": shape(region, *size_of(result.plain))}
    return {
        "id": region.id,
        "class": category.name,
        "category_id": category.id,
        "score": region.score,
        "bbox": list(region.box),
        "area": region.area,
        **segmentation,
    }


SHAPES = {"polygons": polygons, "rle": run_lengths}


def label_map(result: PictureResult, wish: Wish) -> bytes:
    """The PNG that `--save labels` writes."""
    assert isinstance(result.plain, SemanticMap)
    return as_png(Image.fromarray(as_label_map(result.plain.labels[0])))


def id_map(result: PictureResult, wish: Wish) -> bytes:
    """The PNG of 16 bits that `--save masks` writes of objects, here of segments too."""
    return as_png(Image.fromarray(number_map(result.plain)))


def drawing(result: PictureResult, wish: Wish) -> bytes:
    """The picture with the result over it, and a legend."""
    return as_png(result.draw())


def as_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


class Form(NamedTuple):
    """One way to send a result."""

    media: str
    write: Callable[[PictureResult, Wish], bytes]
    tasks: tuple[Task, ...] = ("instance", "panoptic", "semantic")


FORMS: dict[FormName, Form] = {
    "json": Form("application/json", document),
    "overlay": Form("image/png", drawing),
    "labels": Form("image/png", label_map, ("semantic",)),
    "ids": Form("image/png", id_map, ("instance", "panoptic")),
    "geojson": Form(
        "application/geo+json", lambda result, wish: to_json(result.to_geojson()).encode()
    ),
    "labelme": Form("application/json", lambda result, wish: to_json(result.to_labelme()).encode()),
}


def classes(categories: Categories) -> list[dict[str, Any]]:
    """The classes by label, which is their value in a PNG of labels."""
    return [{"label": label, **entry} for label, entry in enumerate(categories.to_json())]
