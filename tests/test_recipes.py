"""Every published row has its recipe: its network, its schedule, its pictures and its test."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from mask2former.build import build_augmentation, build_model
from mask2former.categories import Categories
from mask2former.config import (
    LargeScaleJitter,
    Loss,
    ResizeAndCrop,
    TimmBackbone,
    Train,
    load_config,
)
from mask2former.config.recipes import recipe_names
from mask2former.data import Shapes
from mask2former.engine.optimizer import learning_rate_factor
from mask2former.published import Published, published_models

ROWS = published_models()


class Protocol(NamedTuple):
    """What a folder of rows has in common."""

    steps: int
    falls: tuple[
        int, ...
    ]  # steps at which the rate falls to a tenth; none: it falls as (1 - t)^0.9
    short_edges: tuple[int, ...]  # the first, the last and their number; none: jitter to 1024
    longest: int
    crop: tuple[int, int] | None
    test: tuple[int, int]  # short edge, longest edge
    threshold: float = 0.8
    detections: int = 100


COCO = Protocol(368_750, (327_778, 355_092), (), 0, (1024, 1024), (800, 1333))
CITYSCAPES = Protocol(90_000, (), (512, 2048, 16), 4096, (512, 1024), (1024, 2048))
ADE20K_512 = Protocol(160_000, (), (256, 1024, 16), 2048, (512, 512), (512, 2048))
ADE20K_640 = Protocol(160_000, (), (320, 1280, 16), 2560, (640, 640), (640, 2560))
MAPILLARY = Protocol(300_000, (), (1024, 4096, 16), 8192, (1024, 1024), (2048, 2048))
CLIPS = Protocol(6_000, (4_000,), (360, 480, 2), 1333, None, (480, 1333), detections=10)


def protocol(row: Published) -> Protocol:
    """The published one of a row."""
    match row.name.split("/"):
        case "coco", _, "swin_l":
            return COCO._replace(steps=737_500, falls=(655_556, 710_184))
        case "coco", *_:
            return COCO
        case "cityscapes", *_:
            return CITYSCAPES
        case "ade20k", "semantic", "r50" | "r101" | "swin_t" | "swin_s":
            return ADE20K_512
        case "ade20k", *_:
            return ADE20K_640
        case "mapillary", "panoptic", _:
            return MAPILLARY._replace(threshold=0.0)
        case "mapillary", *_:
            return MAPILLARY
        case "youtubevis_2019", backbone:
            return CLIPS._replace(test=(360 if backbone in ("r50", "r101") else 480, 1333))
        case "youtubevis_2021", backbone:
            small = backbone in ("r50", "r101", "swin_l")
            return CLIPS._replace(steps=8_000, falls=(5_500,), test=(360 if small else 480, 1333))
    raise AssertionError(row.name)


def every_row(test):
    """Run a test on each published row and its recipe."""
    return pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)(test)


def test_published_rows_and_recipes_are_the_same_names() -> None:
    own = {
        "auto",
        "nuclei",
        "street",
        *(name for name in recipe_names() if name.startswith("tiny/")),
    }
    assert len(ROWS) == 59
    assert {row.name for row in ROWS} == set(recipe_names()) - own


@every_row
def test_network_has_the_published_number_of_parameters(row: Published) -> None:
    with torch.device("meta"):
        model = build_model(load_config(row.name).model, len(Categories.bundled(row.classes)))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == row.parameters


@every_row
def test_row_is_trained_as_published(row: Published) -> None:
    config, published = load_config(row.name), protocol(row)
    schedule = config.train.schedule
    assert config.loss == Loss()
    assert config.train == Train(steps=published.steps, schedule=schedule)
    factor = learning_rate_factor(schedule, published.steps)
    assert (schedule.kind == "step") == bool(published.falls)
    if published.falls:
        assert len(schedule.milestones) == len(published.falls)
        for times, step in enumerate(published.falls):
            assert factor(step - 1) == pytest.approx(0.1**times)
            assert factor(step) == pytest.approx(0.1 ** (times + 1))
    else:
        assert factor(published.steps // 2) == pytest.approx(0.5**0.9)
    assert factor(0) == 1


@every_row
def test_row_sees_the_published_pictures(row: Published) -> None:
    augmentation, published = load_config(row.name).data.augmentation, protocol(row)
    if published.short_edges:
        assert isinstance(augmentation, ResizeAndCrop)
        edges = augmentation.short_edges
        assert (edges[0], edges[-1], len(edges)) == published.short_edges
        if len(edges) == 16:
            assert edges == tuple(int(tenth * 0.1 * 2 * edges[0]) for tenth in range(5, 21))
        assert augmentation.max_size == published.longest
        assert augmentation.crop == published.crop
        assert augmentation.color == (published.crop is not None)
        assert augmentation.flips == "horizontal"
    else:
        assert augmentation == LargeScaleJitter(size=1024, scale=(0.1, 2.0), flips="horizontal")


@every_row
def test_row_is_tested_as_published(row: Published) -> None:
    config, published = load_config(row.name), protocol(row)
    test = config.test
    assert test.task == row.task
    assert (test.short_edge, test.max_size) == published.test
    assert (test.threshold, test.overlap_threshold) == (published.threshold, 0.8)
    assert test.max_detections == published.detections


@every_row
def test_row_has_the_published_queries_and_norms(row: Published) -> None:
    config = load_config(row.name)
    decoder, backbone = config.model.transformer_decoder, config.model.backbone
    many = row.backbone == "swin_l" and "semantic" not in row.name
    assert decoder.num_queries == (200 if many else 100)
    clips = row.dataset.startswith("youtubevis")
    assert decoder.position == ("3d" if clips else "2d")
    assert (config.data.clip is not None) == clips
    if isinstance(backbone, TimmBackbone):
        learns = row.dataset == "cityscapes" or row.name == "ade20k/semantic/r101"
        assert backbone.norm == ("trainable" if learns else "frozen")
    assert backbone.weights is not None


def test_clips_keep_their_whole_frames() -> None:
    augmentation = load_config("youtubevis_2019/r50").data.augmentation
    sample = build_augmentation(augmentation)(Shapes(1, (72, 128), frames=2).sample(0))
    height, width = sample["image"].shape[-2:]
    assert height in (360, 480)
    assert width == round(height * 128 / 72)
