"""Put the street pictures of CamVid and of COCO panoptic together, under CamVid's classes.

python tools/street_data.py CAMVID COCO_PANOPTIC OUTPUT [key=value of the recipe `street` ...]

Writes a folder in COCO's panoptic layout: `train` and `val`, each pictures, JSON, PNG files. With
`data.fold=0006R0_*` the pictures of that drive are the validation split. COCO's pictures join the
training split where a tenth of them is of these classes; what else they show is nobody's.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mask2former.build import build_splits
from mask2former.config import Data, load_config
from mask2former.data import CocoPanoptic, Dataset
from mask2former.data.relabel import Relabelled

MADE_OF = {
    "Sky": ("sky-other-merged",),
    "Building": ("building-other-merged", "house", "bridge"),
    "Road": ("road",),
    "Pavement": ("pavement-merged", "platform"),
    "Tree": ("tree-merged", "grass-merged"),
    "SignSymbol": ("stop sign", "traffic light"),
    "Fence": ("fence-merged",),
    "Car": ("car", "truck", "bus"),
    "Pedestrian": ("person",),
    "Bicyclist": ("bicycle", "motorcycle"),
}
"""CamVid's classes (its trees are all that grows, its signs have lights) and COCO's; no poles."""
ENOUGH = 0.1


def open_coco(root: Path, split: str, data: Data) -> Dataset:
    """COCO's pictures under the classes of the street."""
    coco = CocoPanoptic(root / "images" / split, root / f"panoptic_{split}.json")
    used = {name for names in MADE_OF.values() for name in names}
    others = [name for name in coco.categories.names if name not in used]
    return Relabelled(coco, merge=MADE_OF, ignore=others, task="panoptic")


def write(sets: list[Dataset], folder: Path, classes: list[dict], ids: dict[str, int]) -> None:
    """Pictures, PNG files and the JSON beside their folder."""
    pictures, annotations = [], []
    for place, dataset in enumerate(sets):
        for index in range(len(dataset)):
            truth, file = dataset.truth(index), Path(dataset.file(index))
            assert truth.panoptic is not None
            if place and (truth.panoptic > 0).mean() < ENOUGH:
                continue
            number, (height, width) = len(pictures), truth.size
            target = folder / "images" / f"{number:05}_{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            png = folder / "panoptic" / f"{target.stem}.png"
            png.parent.mkdir(exist_ok=True)
            colors = np.stack([truth.panoptic >> shift & 255 for shift in (0, 8, 16)], axis=-1)
            Image.fromarray(colors.astype(np.uint8)).save(png)
            size = {"height": height, "width": width}
            pictures.append({"id": number, "file_name": target.name, **size})
            names = dataset.categories.names
            segments = [
                {
                    "id": s.id,
                    "category_id": ids[names[s.label]],
                    "area": s.area,
                    "iscrowd": int(s.is_crowd),
                }
                for s in truth.segments
            ]
            entry = {"image_id": number, "file_name": png.name, "segments_info": segments}
            annotations.append(entry)
    document = {"images": pictures, "annotations": annotations, "categories": classes}
    (folder / "panoptic.json").write_text(json.dumps(document), encoding="utf-8")
    print(folder, len(pictures))


def main(camvid: Path, coco: Path, output: Path, settings: list[str]) -> None:
    """Write both splits."""
    data = load_config("street", [f"data.root={camvid}", *settings]).data
    train, val = build_splits(data, "panoptic")
    ids = {category.name: category.id for category in train.categories}
    classes = [
        {"id": c.id, "name": c.name, "color": list(c.color), "isthing": int(c.is_thing)}
        for c in train.categories
    ]
    others = [open_coco(coco, split, data) for split in ("train", "val")]
    write([train, *others], output / "train", classes, ids)
    write([val], output / "val", classes, ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
