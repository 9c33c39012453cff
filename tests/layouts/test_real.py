"""Real data in other layouts teaches what it taught in its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import make

from mask2former.build import build_splits
from mask2former.categories import Categories
from mask2former.data import CocoInstances, CocoPanoptic, LabelMaps
from mask2former.layouts import find_layout
from mask2former.structures import IGNORE

FORMATS = {
    "nuclei": "coco",
    "camvid": "label_maps",
    "davis_vis": "youtube_vis",
    "nuclei_drift_vis": "youtube_vis",
    "coco_instances": "coco",
}


@pytest.mark.parametrize(("name", "kind"), FORMATS.items())
def test_real_set_is_found(name: str, kind: str, shared_data: Path) -> None:
    found = find_layout(shared_data / name)
    assert found.data.format == kind
    assert found.has_names


def test_ambiguous_panoptic_set_is_chosen_by_annotations(shared_data: Path) -> None:
    root = shared_data / "coco_panoptic"
    with pytest.raises(ValueError, match="fit COCO instances and COCO panoptic; choose"):
        find_layout(root)
    with pytest.raises(ValueError, match="2 sets of COCO panoptic JSON"):
        find_layout(root, "panoptic")
    named = {s: {"annotations": f"panoptic_coarse_{s}.json"} for s in ("train", "val")}
    train, val = build_splits(find_layout(root, explicit=named).data, "panoptic")
    assert (len(train), len(val)) == (100, 50)


def test_nuclei_are_the_same_in_three_layouts(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "nuclei"
    nuclei = CocoInstances(root / "images" / "train", root / "instances_train.json")
    few = [i for i in range(40) if len(nuclei.labels(i)) < 60][:6]
    scenes = make.scenes_of(nuclei, few)
    splits = {"train": scenes[:4], "valid": scenes[4:]}
    make.roboflow(tmp_path / "roboflow", splits, ("nucleus",))
    make.yolo(tmp_path / "yolo", splits, ("nucleus",))
    make.voc(tmp_path / "voc", {"train": scenes[:4], "val": scenes[4:]}, ("nucleus",), grey)
    (tmp_path / "voc" / "labelmap.txt").unlink()
    (tmp_path / "voc" / "class_names.txt").write_text("background\nnucleus\n")
    for folder in ("roboflow", "voc", "yolo"):
        train, val = build_splits(find_layout(tmp_path / folder, "instance").data, "instance")
        assert (len(train), len(val)) == (4, 2)
        assert train.categories.names == ["nucleus"]
        at = {Path(str(train.file(i))).stem: i for i in range(4)}
        for scene in scenes[:4]:
            sample = train.sample(at[scene.name])
            assert len(sample["labels"]) == len(scene.objects)
            shown = (sample["ids"] > 0).any(0)[0].numpy()
            true = scene.classes > 0
            if folder == "yolo":
                assert (shown & true).sum() / (shown | true).sum() > 0.9
            else:
                assert (shown == true).all()
                places = sample["ids"].amax(0)[0]
                for _, mask in scene.objects:
                    assert len(torch.unique(places[torch.from_numpy(mask)])) == 1


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


def test_street_scenes_are_the_same_in_values_and_colours(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "camvid"
    known = Categories.from_json(make.json.loads((root / "classes.json").read_text())["classes"])
    camvid = LabelMaps(root / "images/train", root / "labels/train", known, ignore=(11,))
    table = np.zeros((12, 3), np.uint8)
    table[:11] = [category.color for category in known]
    for index in range(0, 40, 10):
        name = camvid.file(index).stem
        values = np.array(Image.open(root / "labels" / "train" / f"{name}.png"))
        image = camvid.image(index)
        make.write_picture(tmp_path / "colours" / "images", f"{name}.png", image)
        make.write_picture(tmp_path / "colours" / "masks", f"{name}_L.png", table[values])
        make.write_picture(tmp_path / "ade" / "images/training", f"{name}.png", image)
        folder = tmp_path / "ade" / "annotations/training"
        make.write_picture(folder, f"{name}.png", ((values + 1) % 12).astype(np.uint8))
    rows = [f"{k.name},{','.join(map(str, k.color))}" for k in known]
    table_file = tmp_path / "colours" / "class_dict.csv"
    table_file.write_text("\n".join(["name,r,g,b", "Void,0,0,0", *rows]))
    (tmp_path / "ade" / "objectInfo150.txt").write_text("")
    data = find_layout(tmp_path / "colours", "semantic").data
    assert data.ignore_classes == ("Void",)
    colours, _ = build_splits(data.model_copy(update={"fold": (3, 4)}), "semantic")
    ade, _ = build_splits(
        find_layout(tmp_path / "ade", "semantic").data.model_copy(update={"fold": (3, 4)}),
        "semantic",
    )
    assert colours.categories.names == known.names
    for place in range(3):
        expected = camvid.truth(10 * place).semantic
        assert expected is not None
        assert (colours.truth(place).semantic == expected).all()
        other = ade.truth(place).semantic
        assert other is not None
        assert (other == expected).all()
        assert (other == IGNORE).any()
        one, two = colours.sample(place), camvid.sample(10 * place)
        assert (one["ids"] == two["ids"]).all()
        assert (one["labels"] == two["labels"]).all()


def test_panoptic_pictures_as_semantic_maps(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "coco_panoptic"
    coco = CocoPanoptic(root / "images/val", root / "panoptic_coarse_val.json")
    for index in range(3):
        semantic = coco.truth(index).semantic
        assert semantic is not None
        name = coco.file(index).stem
        make.write_picture(tmp_path / "images", f"{name}.png", coco.image(index))
        values = np.where(semantic == IGNORE, 255, semantic).astype(np.uint8)
        make.write_picture(tmp_path / "labels", f"{name}.png", values)
    (tmp_path / "names.txt").write_text("\n".join(coco.categories.names))
    data = find_layout(tmp_path).data.model_copy(update={"fold": (0, 3)})
    train, val = build_splits(data, "semantic")
    assert train.categories.names == coco.categories.names
    assert (val.truth(0).semantic == coco.truth(0).semantic).all()
    assert (train.truth(1).semantic == coco.truth(2).semantic).all()
