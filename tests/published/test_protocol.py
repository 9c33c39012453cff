"""The official test settings are found by a model's name, or by its classes, task and network."""

import pytest

from mask2former.categories import Categories
from mask2former.config import load_config, override_config
from mask2former.published import find_published
from mask2former.published.protocol import official_protocol


def classes(name: str) -> Categories:
    return Categories.bundled(name)


def test_name_tells_the_row() -> None:
    config = load_config("ade20k/semantic/swin_l", ["test.short_edge=384"])
    found = official_protocol("model_final_6b4a3a.pkl", config, classes("ade20k_semantic"))
    assert found.row.name == "ade20k/semantic/swin_l"
    assert (found.test.short_edge, found.test.max_size) == (640, 2560)
    assert found.tasks == ["semantic"]
    assert found.published("semantic") == {"mIoU": "56.1"}


@pytest.mark.parametrize(
    ("recipe", "same_as"),
    [
        ("ade20k/semantic/swin_l", "ade20k/semantic/swin_l"),
        ("ade20k/semantic/swin_t", "ade20k/semantic/swin_t"),
        ("youtubevis_2021/swin_l", "youtubevis_2021/swin_l"),
        ("cityscapes/panoptic/r101", "cityscapes/panoptic/r101"),
    ],
)
def test_trained_model_is_told_by_its_network(recipe: str, same_as: str) -> None:
    config = load_config(recipe, ["model.backbone.weights=null", "test.short_edge=99"])
    row = find_published(recipe)
    assert row is not None
    found = official_protocol("runs/mine", config, classes(row.classes))
    assert found.name == same_as
    assert found.test == load_config(recipe).test


def test_converted_network_has_the_figures_of_its_backbone() -> None:
    config = load_config("coco/panoptic/r101", ["model.backbone={kind: timm, name: resnet101}"])
    found = official_protocol("ours", config, classes("coco_panoptic"))
    assert found.name == "coco/panoptic/r101"
    assert found.published("panoptic") == {"PQ": "52.6"}


def test_rows_of_one_network_are_both_said() -> None:
    config = load_config("coco/panoptic/swin_b_22k")
    found = official_protocol("ours", config, classes("coco_panoptic"))
    assert found.name == "coco/panoptic/swin_b or coco/panoptic/swin_b_22k"
    assert found.published("panoptic") == {"PQ": "55.1 or 56.4"}
    named = official_protocol("coco/panoptic/swin_b_22k", config, classes("coco_panoptic"))
    assert named.published("panoptic") == {"PQ": "56.4"}


@pytest.mark.parametrize(
    "model", ["mask2former-swin-tiny-coco-instance", "me/mask2former-swin-tiny-coco-instance"]
)
def test_name_without_the_classes_tells_no_row(model: str) -> None:
    config = load_config("coco/instance/swin_t")
    found = official_protocol(model, config, classes("cityscapes_instance"))
    assert found.name == "cityscapes/instance/swin_t"
    assert official_protocol(model, config, classes("coco_instance")).row.task == "instance"


def test_network_that_was_not_published_has_settings_and_no_figures() -> None:
    config = override_config(load_config("coco/panoptic/r50"), ["model.dim=64", "test.threshold=0"])
    found = official_protocol("mine", config, classes("coco_panoptic"))
    assert found.row.name == "coco/panoptic/r50"
    assert (found.test.short_edge, found.test.max_size, found.test.threshold) == (800, 1333, 0.8)
    assert found.tasks == ["panoptic", "instance", "semantic"]
    assert [found.published(task) for task in found.tasks] == [{}, {}, {}]


def test_panoptic_models_were_measured_at_all_tasks() -> None:
    config = load_config("coco/panoptic/r50")
    found = official_protocol("coco/panoptic/r50", config, classes("coco_panoptic"))
    assert found.tasks == ["panoptic", "instance", "semantic"]
    assert [found.published(task) for task in found.tasks] == [
        {"PQ": "51.9"},
        {"AP": "41.7"},
        {"mIoU": "61.7"},
    ]
    vistas = official_protocol("mapillary/panoptic/r50", config, classes("mapillary_vistas"))
    assert vistas.tasks == ["panoptic", "semantic"]


def test_other_classes_have_no_protocol() -> None:
    config = load_config("coco/panoptic/r50")
    with pytest.raises(
        ValueError, match=r"nothing was published for panoptic.*leave --protocol out"
    ):
        official_protocol("mine", config, classes("coco_instance"))


def test_cityscapes_is_measured_by_its_own_rules() -> None:
    for name in ("cityscapes/instance/swin_l", "cityscapes/panoptic/r50"):
        assert load_config(name).test.ap == "cityscapes"
    assert load_config("coco/instance/r50").test.ap == "coco"
