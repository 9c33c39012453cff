"""The check of whole sets: figures against brute force, the page, the command, real data."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import cli
from mask2former.config import Config, load_config, override_config
from mask2former.report.check import check_data, write_report
from mask2former.report.check.copies import NEAR, find_copies
from mask2former.report.check.findings import KEPT, Findings
from mask2former.report.check.look import Seen, picture_print
from mask2former.report.check.pictures import choose
from mask2former.report.check.tally import EDGES, Tally

Change = Callable[[dict], object]


def edit(file: Path, change: Change) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def sentences(config: Config) -> list[str]:
    return [f"{finding.severity}: {finding.sentence}" for finding in check_data(config).findings]


def test_findings_are_kept_once_and_bounded_by_kind() -> None:
    findings = Findings()
    for number in range(KEPT + 50):
        assert findings.add("fault", "a.json", f"annotation {number}", f"a.json: {number} is wrong")
    assert not findings.add("fault", "a.json", "annotation 0", "a.json: 0 is wrong")
    findings.skip(Path("b.txt"), "line 1", "b.txt:1: covers no pixel")
    assert findings.counts == {"fault": KEPT + 50, "warning": 1}
    assert findings.skipped == 1
    assert [(len(found), more) for found, more in findings.alike()] == [(KEPT, 50), (1, 0)]
    assert [finding.severity for finding in findings][-1] == "warning"


def test_copies_are_those_of_brute_force() -> None:
    draw = np.random.default_rng(0)
    prints = [int(p) for p in draw.integers(0, 2**64, 60, np.uint64)]
    prints += [p ^ (1 << k) ^ (1 << (k + 9)) for k, p in enumerate(prints[:20])]  # two bits apart
    order = draw.permutation(len(prints)).tolist()
    split = {"train": [prints[i] for i in order[:45]], "val": [prints[i] for i in order[45:]]}
    seen = {
        name: [Seen(i, (1, 1), [], [], bytes([i, name == "val"]), p) for i, p in enumerate(found)]
        for name, found in split.items()
    }
    expected = {
        place
        for place, one in enumerate(split["val"])
        if min((one ^ other).bit_count() for other in split["train"]) <= NEAR
    }
    found = find_copies(seen)
    assert expected
    assert {copy.second for copy in found} == {("val", place) for place in expected}
    assert all(copy.leaks and not copy.is_exact for copy in found)


def test_print_survives_size_and_compression_and_tells_others_apart(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    grids = [Image.fromarray(draw.integers(0, 256, (7, 9, 3), np.uint8)) for _ in range(2)]
    one, other = (np.asarray(grid.resize((160, 120))) for grid in grids)
    Image.fromarray(one).resize((100, 75)).save(tmp_path / "a.jpg", quality=50)
    with Image.open(tmp_path / "a.jpg") as image:
        again = np.asarray(image)
    first, second, third = (picture_print(pixels) for pixels in (one, again, other))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first ^ second).bit_count() <= NEAR < (first ^ third).bit_count()
    assert picture_print(np.full((50, 50, 3), 7, np.uint8)) is None


def test_tally_counts_sides_at_the_size_of_the_network() -> None:
    config = override_config(
        load_config("nuclei", []), ["test.short_edge=100", "test.max_size=400"]
    )
    tally = Tally()
    sides = [1.9, 2.1, 3.9, 4.1, 200.0]
    tally.add(Seen(0, (50, 80), [0, 0, 0, 1, 1], sides, b"", None), config)
    assert tally.smaller_than(4) == sum(2 * side < 4 for side in sides) == 1
    assert tally.smaller_than(8) == sum(2 * side < 8 for side in sides) == 3
    assert sum(tally.by_side.values()) == len(sides)
    assert tally.by_side[len(EDGES)] == 1
    assert (tally.most, tally.showing, tally.bare) == (5, {0: 1, 1: 1}, 0)


def test_pictures_are_chosen_alike_every_time() -> None:
    chosen = choose(range(100, 200), 6, seed=0)
    assert chosen == choose(range(100, 200), 6, seed=0) != choose(range(100, 200), 6, seed=1)
    assert chosen == sorted(set(chosen))
    assert choose([3, 5], 6, seed=0) == [3, 5]


def test_more_objects_than_queries_is_a_warning(made) -> None:
    config = override_config(made.config("coco"), ["model.transformer_decoder.num_queries=1"])
    assert any("2 pictures have more objects than the 1 queries" in s for s in sentences(config))
    sampled = ["model.transformer_decoder.queries={spacing: 16}"]
    assert not any("queries" in s for s in sentences(override_config(made.config("coco"), sampled)))


def test_small_objects_are_a_warning(made) -> None:
    def shrink(document: dict) -> None:
        for entry in document["annotations"]:
            entry["segmentation"] = [[3, 3, 5, 3, 5, 5, 3, 5]]

    edit(made.root / "train.json", shrink)
    config = override_config(made.config("coco"), ["test.short_edge=30"])
    assert any("4 of 4 objects are smaller than 4 x 4 pixels" in s for s in sentences(config))


def test_classes_that_are_missing_or_twice_are_told(made) -> None:
    more = [{"id": 3, "name": "moon"}, {"id": 4, "name": "sky"}]
    for split in ("train", "val"):
        edit(made.root / f"{split}.json", lambda d: d["categories"].extend(more))
    edit(made.root / "train.json", lambda d: d["annotations"].pop(3))
    edit(made.root / "val.json", lambda d: d["annotations"][0].update(category_id=3))
    said = sentences(made.config("coco"))
    assert "warning: the class 'sky' is there 2 times with different ids; merge them" in said
    assert any("validation pictures, but in no training picture: moon" in s for s in said)


def test_validation_on_training_pictures_is_one_warning(made) -> None:
    config = made.config("coco")
    data = config.data.model_copy(update={"val": config.data.train})
    said = sentences(config.model_copy(update={"data": data}))
    assert "warning: all validation pictures are training pictures: figures will flatter" in str(
        said
    )
    assert not any("the same pixels" in sentence for sentence in said)


def test_fold_splits_one_source_without_leaks(made) -> None:
    checkup = check_data(made.config("coco", fold=[0, 2]))
    assert {name: tally.pictures for name, tally in checkup.tallies.items()} == {
        "train": 1,
        "val": 1,
    }
    assert checkup.is_sound


def test_merged_classes_are_counted_as_they_are_trained(made) -> None:
    config = made.config("coco", merge={"thing": ["sky", "road"]})
    tally = check_data(config).tallies["train"]
    assert tally.objects == {0: 4}


def test_page_shows_samples_with_targets_and_faulty_pictures(made, tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(made.root / "images/train/a.png")
    page = write_report(check_data(made.config("coco")), tmp_path / "report")
    text = page.read_text()
    assert page.name == "report.html"
    for title in ("Faults", "Splits", "Classes", "What the loss will see", "Pictures with faults"):
        assert f"<h2>{title}" in text
    assert text.count("<img") == 2  # one sound training picture, and the faulty one
    assert "the file is 40 x 20 pixels" in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert (
        page.read_text() == write_report(check_data(made.config("coco")), page.parent).read_text()
    )


@pytest.mark.parametrize("name", ["label_maps", "coco_panoptic", "youtube_vis", "yolo", "voc"])
def test_page_is_written_for_every_task(name: str, made, tmp_path: Path) -> None:
    text = write_report(check_data(made.config(name)), tmp_path / "report").read_text()
    assert text.count("<img") == 2


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["mask2former", "check-data", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def words_of(config: Config) -> list[str]:
    data = config.data.model_dump(mode="json", include={"format", "root", "train", "val"})
    return [f"data.{key}={json.dumps(value)}" for key, value in data.items()]


def test_command_ends_with_0_on_sound_data(made, monkeypatch, capsys, tmp_path: Path) -> None:
    words = words_of(made.config("coco"))
    assert run(monkeypatch, *words, "--output", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "0 faults" in said.out
    assert f"saved: {tmp_path / 'out' / 'report.html'}" in said.out
    assert "next: `mask2former train auto" in said.out
    assert (tmp_path / "out" / "report.html").is_file()


def test_command_ends_with_2_and_a_sentence_on_faults(
    made, monkeypatch, capsys, tmp_path: Path
) -> None:
    edit(made.root / "train.json", lambda d: d["annotations"][0].update(category_id=9))
    words = words_of(made.config("coco"))
    assert run(monkeypatch, *words, "--json", "--output", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.err.startswith("mask2former: 1 fault in the data; mend what ")
    assert said.err.count("\n") == 1
    document = json.loads(said.out)
    assert (document["sound"], document["faults"]) == (False, 1)
    fault = document["findings"][0]
    assert (fault["severity"], fault["where"]) == ("fault", "annotation 11")
    assert fault["file"] == str(made.root / "train.json")
    assert document["splits"]["train"]["classes"]["road"] == {"objects": 2, "pictures": 2}


REAL = {
    "nuclei": ("nuclei", []),
    "camvid": ("tiny/camvid", []),
    "coco_panoptic": ("tiny/panoptic", []),
    "davis_vis": (
        "tiny/clips",
        [
            "data.format=youtube_vis",
            "data.fold=null",
            "data.train={images: JPEGImages/train, annotations: instances_train.json}",
            "data.val={images: JPEGImages/val, annotations: instances_val.json}",
        ],
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_has_no_fault(name: str, shared_data: Path) -> None:
    recipe, settings = REAL[name]
    config = load_config(recipe, [f"data.root={shared_data / name}", "data.first=12", *settings])
    checkup = check_data(config)
    assert [f for f in checkup.findings if f.severity == "fault"] == []
    for split, tally in checkup.tallies.items():
        dataset = checkup.datasets[split]
        assert tally.pictures == len(dataset)
        if not dataset.varies:
            targets = sum(len(dataset.sample(i)["labels"]) for i in range(len(dataset)))
            assert tally.objects.total() == targets
