"""The check as a page: what to mend, tables of classes, and what the loss will see."""

from __future__ import annotations

from pathlib import Path

from mask2former.build import build_augmentation
from mask2former.render import as_picture
from mask2former.report.check.checkup import Checkup
from mask2former.report.check.findings import Finding
from mask2former.report.check.pictures import choose, draw_pair, draw_sample
from mask2former.report.check.tally import by_place, side_names
from mask2former.report.page import Html, Section, bars, figure, marked, page, table
from mask2former.writing import replace_text

SAMPLES = 6
SHOWN = 20
"""Of findings that are alike so many stand on the page."""
MEANING = {
    "fault": "Faults: mend these, or training refuses",
    "warning": "Warnings: look at these",
    "note": "Notes",
}


def write_report(checkup: Checkup, folder: Path) -> Path:
    """Write `report.html`, which holds all its pictures; return its path."""
    data = checkup.config.data
    counts = checkup.findings.counts
    lead = (
        f"{data.root or 'The data'}, read as {data.format} for {checkup.config.test.task} "
        f"segmentation: {counts['fault']} faults, {counts['warning']} warnings, "
        f"{counts['note']} notes; {checkup.findings.skipped} entries are left out in training."
    )
    sections = [
        *(Section(title, _list_findings(checkup, kind)) for kind, title in MEANING.items()),
        Section("Splits", [table(_split_rows(checkup))]),
        Section("Classes", _class_tables(checkup)),
        Section("Objects in a training picture", _objects(checkup)),
        Section(
            "Sides of training objects, in pixels at the size the network sees", _sides(checkup)
        ),
        Section("What the loss will see", _draw_samples(checkup)),
        Section("Pictures with faults", _draw_faulty(checkup)),
        Section("Pictures that are there twice", _draw_copies(checkup)),
    ]
    path = folder / "report.html"
    replace_text(path, page("Check of a data set", sections, lead))
    return path


def _list_findings(checkup: Checkup, severity: str) -> list[str]:
    parts: list[str] = []
    for found, more in checkup.findings.alike():
        if found[0].severity == severity:
            parts += [marked(finding.sentence, severity) for finding in found[:SHOWN]]
            rest = len(found[SHOWN:]) + more
            if rest:
                parts.append(f"... and {rest} more like the last.")
    return parts


def _split_rows(checkup: Checkup) -> list[dict[str, object]]:
    return [
        {
            "split": name,
            "pictures": len(checkup.datasets[name]),
            "can be used": tally.pictures,
            "without objects": tally.bare,
            "objects": tally.objects.total(),
            "most in a picture": tally.most,
            "usual size": " x ".join(map(str, tally.sizes.most_common(1)[0][0][::-1]))
            if tally.sizes
            else "-",
        }
        for name, tally in checkup.tallies.items()
    ]


def _class_tables(checkup: Checkup) -> list[str]:
    categories = checkup.categories
    if categories is None or not checkup.tallies:
        return []
    rows = []
    for label, category in enumerate(categories):
        row: dict[str, object] = {"id": category.id, "class": category.name}
        row["kind"] = "thing" if category.is_thing else "stuff"
        for name, tally in checkup.tallies.items():
            row |= {
                f"{name} objects": tally.objects[label],
                f"{name} pictures": tally.showing[label],
            }
        rows.append(row)
    return [table(rows)]


def _objects(checkup: Checkup) -> list[str]:
    tally = checkup.tallies.get("train")
    if tally is None or not tally.per_picture:
        return []
    width = max(1, -(-(tally.most + 1) // 12))
    names = [
        f"{low} to {low + width - 1}" if width > 1 else f"{low}"
        for low in range(0, tally.most + 1, width)
    ]
    values = [0] * len(names)
    for count, pictures in tally.per_picture.items():
        values[count // width] += pictures
    return [bars(dict(zip(names, values, strict=True)))]


def _sides(checkup: Checkup) -> list[str]:
    tally = checkup.tallies.get("train")
    if tally is None or not tally.by_side:
        return []
    return [bars(dict(zip(side_names(), by_place(tally.by_side), strict=True)))]


def _draw_samples(checkup: Checkup) -> list[str]:
    dataset, config = checkup.datasets.get("train"), checkup.config
    if dataset is None or not len(dataset):
        return []
    bad = {index for name, index in checkup.faulty if name == "train"}
    candidates = [index for index in range(len(dataset)) if index not in bad]
    augment = build_augmentation(config.data.augmentation)
    settings = config.data.augmentation.model_dump(mode="json")
    pictures: list[str] = [f"The augmentation is {settings}. What bears no colour is no target."]
    if config.data.paste:
        pictures.append(
            f"A part of {config.data.paste:g} also gets regions of others, which is not drawn here."
        )
    for index in choose(candidates, SAMPLES, config.train.seed):
        try:
            drawn = draw_sample(dataset, index, augment, config.test.task, seed=config.train.seed)
        except (ValueError, OSError):  # told as a fault already: more are faulty than are kept
            continue
        pictures.append(figure(drawn, str(dataset.file(index))))
    return pictures


def _draw_faulty(checkup: Checkup) -> list[str]:
    sentences: dict[str, Finding] = {f.file: f for f in checkup.findings if f.severity == "fault"}
    pictures: list[str] = []
    for name, index in checkup.faulty:
        dataset = checkup.datasets[name]
        file = str(dataset.file(index))
        try:
            pixels = dataset.read(Path(file))  # not `image`, which refuses another size
        except (ValueError, OSError):
            continue
        caption = sentences[file].sentence if file in sentences else file
        pictures.append(figure(as_picture(pixels), caption))
    return pictures


def _draw_copies(checkup: Checkup) -> list[Html]:
    pictures = []
    for copy in sorted(checkup.copies, key=lambda copy: not copy.leaks)[:SAMPLES]:
        pair = [(checkup.datasets[split], index) for split, index in (copy.first, copy.second)]
        images = [dataset.image(index) for dataset, index in pair]
        images = [image if image.ndim == 3 else image[0] for image in images]
        files = [str(dataset.file(index)) for dataset, index in pair]
        degree = "the same pixels" if copy.is_exact else "much alike"
        caption = f"{degree}: {copy.first[0]} {files[0]}, {copy.second[0]} {files[1]}"
        pictures.append(figure(draw_pair(images[0], images[1], files), caption))
    return pictures
