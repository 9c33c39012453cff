"""Ask every recogniser, and take the one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mask2former.config import OBJECT_FORMATS, Data, Format, Task, parse_config
from mask2former.config.recipes import merge
from mask2former.layouts import coco, known, labelme, maps, yolo
from mask2former.layouts.found import Explicit, Found, NotThisError, tasks_of_maps
from mask2former.layouts.own import read_own_settings
from mask2former.layouts.places import subfolders
from mask2former.layouts.splits import FOLD

DEEPEST = 2
"""A download often lies in a folder of its own, and that in another."""


ALL: tuple[Task, ...] = ("panoptic", "semantic", "instance")


MAPS = "label_maps"


class Layout(NamedTuple):
    """One layout: its name, the format it is read by, what that can teach, who recognises it.

    `derived` are tasks that it can teach, but which others teach better.
    """

    name: str
    format: Format
    tasks: tuple[Task, ...]
    recognise: Callable[[Path, Explicit], Found]
    derived: tuple[Task, ...] = ()

    def teaches(self, explicit: Explicit) -> tuple[Task, ...]:
        """The tasks, with what the settings add to them."""
        if self.format == MAPS:
            return tasks_of_maps(explicit.get("separate"))
        return (*self.tasks, *self.derived)


LAYOUTS = (
    Layout("COCO instances", "coco", ("instance",), coco.coco, derived=("semantic",)),
    Layout("COCO panoptic", "coco_panoptic", ALL, coco.coco_panoptic),
    Layout("YouTube-VIS", "youtube_vis", ("instance",), coco.youtube_vis),
    Layout("YOLO segmentation", "yolo", ("instance",), yolo.yolo, derived=("semantic",)),
    Layout("labelme", "labelme", ("instance",), labelme.labelme, derived=("semantic",)),
    Layout("Cityscapes", "cityscapes", ALL, known.cityscapes),
    Layout("Pascal VOC", "voc", ("semantic", "instance", "panoptic"), known.voc),
    Layout(
        "maps of objects", "object_maps", ("instance",), maps.object_maps, derived=("semantic",)
    ),
    Layout("label maps", "label_maps", ("semantic",), maps.label_maps),
)


def find_layout(
    root: Path, wanted: Task | None = None, *, explicit: Explicit | None = None
) -> Found:
    """Recognise the layout of a data folder, for a task where one is wanted.

    What `explicit` names wins, then the folder's own `data.yaml`, then what is found. Raises one
    ValueError: what was looked for where nothing fits, what to choose where two layouts do.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such data folder")
    settings = merge(read_own_settings(root), dict(explicit or {}))
    if _names_all(settings):
        return _for_task(_as_named(root, settings), wanted)
    found = _only_answer(root, wanted, settings, DEEPEST)
    return _for_task(_lay_over(found, settings), wanted)


def _for_task(found: Found, wanted: Task | None) -> Found:
    """What is found, for a task; says how objects become a map of classes."""
    found = replace(found, wanted=wanted)
    if found.task != "semantic" or found.data.format not in OBJECT_FORMATS:
        return found
    rest = (
        "counts for nobody (data.background=class makes it a class)"
        if found.data.background == "void"
        else "is the class background (data.background=void: nobody's)"
    )
    says = [f"classes are painted from objects, smaller ones on top; what is no object {rest}"]
    return replace(found, says=[*found.says, *says])


def _names_all(settings: Explicit) -> bool:
    """Whether settings say by themselves what is where."""
    splits = [settings.get(word) for word in ("train", "val")]
    return "format" in settings and any(
        isinstance(split, dict) and {"images", "annotations"} <= split.keys() for split in splits
    )


def _as_named(root: Path, settings: Explicit) -> Found:
    """Settings that leave nothing to find."""
    data = parse_config({"data": {"root": str(root), **settings}}, str(root)).data
    tasks = tasks_of(data)
    says = []
    if not {"val", "fold"} & settings.keys():
        data = data.model_copy(update={"fold": FOLD})
        says.append(f"validation: none is named, so data.fold={list(FOLD)}")
    return Found(f"{data.format} as the settings name it", data, tasks, says)


def tasks_of(data: Data) -> tuple[Task, ...]:
    """What data of a format can teach, the default first; nothing where no layout has it."""
    fitting = [layout for layout in LAYOUTS if layout.format == data.format]
    return fitting[0].teaches({"separate": data.separate}) if fitting else ()


def _only_answer(root: Path, wanted: Task | None, explicit: Explicit, deepest: int) -> Found:
    """The one layout of a folder, or of the only folder in it."""
    answers = _better(_ask(root, wanted, explicit), wanted)
    found, faulty = answers.found, answers.faulty
    if len(found) == 1 and not faulty:
        return next(iter(found.values()))
    if len(faulty) == 1 and not found:
        raise next(iter(faulty.values()))
    if found or faulty:
        raise _several(root, answers)
    inner = subfolders(root)
    if not answers.near and len(inner) == 1 and deepest:
        return _only_answer(inner[0], wanted, explicit, deepest - 1)
    if answers.near:
        raise ValueError(f"{root}: no data set that can be read: {'; '.join(answers.near)}")
    raise ValueError(f"{root}: no data set found: {'; '.join(answers.far)}")


class _Answers(NamedTuple):
    """What the recognisers say of a folder."""

    found: dict[Layout, Found]
    faulty: dict[Layout, ValueError]  # it is there, and cannot be read, or chosen among
    near: list[str]  # why it is not this layout, of which most is there
    far: list[str]


def _ask(root: Path, wanted: Task | None, explicit: Explicit) -> _Answers:
    answers = _Answers({}, {}, [], [])
    for layout in LAYOUTS:
        if explicit.get("format", layout.format) != layout.format:
            continue
        tasks = layout.teaches(explicit)
        teaches = f"{layout.name}, for {' or '.join(tasks)} segmentation and not {wanted}"
        if tasks == ("semantic",):
            teaches += " (data.separate=[CLASS] takes connected regions for objects)"
        try:
            found = _recognise(layout, root, wanted, explicit)
            if wanted is None or wanted in found.tasks:
                answers.found[layout] = found
            else:
                answers.near.append(f"it holds {teaches}")
        except NotThisError as reason:
            side = answers.near if reason.near else answers.far
            side.append(f"{layout.name}: {reason}")
        except ValueError as error:
            if wanted is None or wanted in tasks:
                answers.faulty[layout] = error
            else:
                answers.near.append(f"it holds {teaches}; {error}")
    return answers


def _better(answers: _Answers, wanted: Task | None) -> _Answers:
    """Without the layouts from which the wanted task is derived, where another one teaches it."""
    found = {layout: f for layout, f in answers.found.items() if wanted not in layout.derived}
    if wanted is None or not found:
        return answers
    faulty = {layout: e for layout, e in answers.faulty.items() if wanted not in layout.derived}
    return answers._replace(found=found, faulty=faulty)


def _recognise(layout: Layout, root: Path, wanted: Task | None, explicit: Explicit) -> Found:
    """What a layout says; maps that look like numbered objects are classes to who wants these."""
    found = layout.recognise(root, explicit)
    if "format" in explicit or wanted is None or wanted in found.tasks or layout.format != MAPS:
        return found
    return layout.recognise(root, {**explicit, "format": MAPS})


def _several(root: Path, answers: _Answers) -> ValueError:
    layouts = [*answers.found, *answers.faulty]
    names = " and ".join(layout.name for layout in layouts)
    choice = " or ".join(f"data.format={layout.format}" for layout in layouts)
    return ValueError(f"{root}: its files fit {names}; choose by {choice}")


def _lay_over(found: Found, settings: Explicit) -> Found:
    """What is found under what a person named."""
    if not settings:
        return found
    base = found.data.model_dump(mode="json", exclude_unset=True)
    says = list(found.says)
    if {"val", "fold"} & settings.keys():
        base["fold"] = None
        says = [sentence for sentence in says if not sentence.startswith("validation:")]
    for key in settings.keys() - {"train", "val", "test"}:
        base.pop(key, None)
    data = parse_config({"data": merge(base, dict(settings))}, str(found.data.root)).data
    says.append(f"as named: {', '.join(f'data.{key}' for key in settings)}")
    return replace(found, data=data, says=says)
