"""The official model zoo as data: 59 rows, each with its recipe, and the names that find them."""

from collections import Counter
from pathlib import Path

import pytest

from mask2former.categories import Categories
from mask2former.config import load_config
from mask2former.config.recipes import recipe_names
from mask2former.published import (
    UNKNOWN_LICENCE,
    Published,
    find_published,
    licence_of,
    published_at,
    published_models,
)

ROWS = published_models()


def test_there_are_59_rows_with_names_of_their_own() -> None:
    assert len(ROWS) == 59
    for names in ([row.name for row in ROWS], [row.digest for row in ROWS]):
        assert len(set(names)) == 59
    counts = {"coco": 14, "cityscapes": 18, "ade20k": 11, "mapillary": 4}
    assert Counter(row.dataset for row in ROWS) == counts | {
        "youtubevis_2019": 6,
        "youtubevis_2021": 6,
    }


def test_every_row_has_its_recipe_of_the_same_task() -> None:
    assert {row.name for row in ROWS} <= set(recipe_names())
    for row in ROWS[:: len(ROWS) // 12]:
        assert load_config(row.name).test.task == row.task


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_complete(row: Published) -> None:
    assert row.url.startswith("https://dl.fbaipublicfiles.com/maskformer/")
    assert row.file == f"model_final_{row.digest}.pkl"
    assert len(row.digest) == 6 and int(row.digest, 16) >= 0
    assert row.licence == "CC BY-NC 4.0"
    assert 40e6 < row.parameters < 220e6
    assert row.figures and all(20 < value < 90 for value in row.figures.values())
    classes = len(Categories.bundled(row.classes))
    # 257 parameters a class is what rows of one network differ by (model_facts 4.5).
    queries = 200 if row.backbone == "swin_l" and row.task != "semantic" else 100
    trained_norms = row.dataset == "cityscapes" or row.name == "ade20k/semantic/r101"
    backbone, decoder = {
        "r50": (23_508_032 if trained_norms else 23_454_912, 6_035_904),
        "r101": (42_500_160 if trained_norms else 42_394_816, 6_035_904),
        "swin_t": (27_520_698, 5_421_504),
        "swin_s": (48_838_602, 5_421_504),
        "swin_b": (86_880_376, 5_544_384),
        "swin_b_22k": (86_880_376, 5_544_384),
        "swin_l": (195_201_204, 5_790_144),
    }[row.backbone]
    head = 14_407_424 + 512 * queries + 257 * (classes + 1)
    assert row.parameters == backbone + decoder + head


def test_hub_ports_are_those_of_swin() -> None:
    ports = [row.hub for row in ROWS if row.hub is not None]
    assert len(ports) == 38
    assert len({port.id for port in ports}) == 38
    assert Counter(port.evidence for port in ports)["weak"] == 2
    assert all(row.backbone.startswith("swin") for row in ROWS if row.hub)


@pytest.mark.parametrize(
    "name",
    [
        "coco/panoptic/swin_t",
        "model_final_9fd0ae",
        "model_final_9fd0ae.pkl",
        "downloads/model_final_9fd0ae.pkl",
        ROWS[2].url,
        "facebook/mask2former-swin-tiny-coco-panoptic",
    ],
)
def test_row_is_found_by_each_of_its_names(name: str) -> None:
    row = find_published(name)
    assert row is not None
    assert row.name == "coco/panoptic/swin_t"


@pytest.mark.parametrize(
    "path",
    [
        "downloads/model_final_9fd0ae.pkl",
        "clones/mask2former-swin-tiny-coco-panoptic",
        "hub/models--facebook--mask2former-swin-tiny-coco-panoptic/snapshots/0f1e",
    ],
)
def test_row_is_found_at_each_of_its_places(path: str) -> None:
    row = published_at(Path(path))
    assert row is not None
    assert row.name == "coco/panoptic/swin_t"


@pytest.mark.parametrize(
    "path",
    [
        "models--me--mask2former-swin-tiny-coco-panoptic/snapshots/0f1e",
        "mask2former-swin-tiny-coco-panoptic/run/last",
        "model_final_ffffff.pkl",
        ".",
    ],
)
def test_other_places_are_of_no_row(path: str) -> None:
    assert published_at(Path(path)) is None


@pytest.mark.parametrize(
    "name",
    [
        "nuclei",
        "coco/panoptic",
        "9fd0ae",
        "facebook/other",
        "",
        "me/mask2former-swin-tiny-coco-panoptic",
        "mask2former-swin-tiny-coco-panoptic",
        "me/model_final_9fd0ae",
    ],
)
def test_other_names_find_no_row(name: str) -> None:
    assert find_published(name) is None


@pytest.mark.parametrize(
    ("page", "licence"),
    [
        ("---\nlicense: mit\ntags: [vision]\n---\n# A model", "mit"),
        ("---\nlicense: other\nlicense_name: nvidia\n---\n", "nvidia"),
        ("---\nlicense: other\n---\ntext", UNKNOWN_LICENCE),
        ("---\nlicense: [mit\n---\ntext", UNKNOWN_LICENCE),
        ("# A model\n---\nlicense: mit\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: mit\n", UNKNOWN_LICENCE),
    ],
)
def test_licence_is_what_the_page_says(page: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(page)
    assert licence_of(tmp_path) == licence


def test_licence_of_weights_without_a_page(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == UNKNOWN_LICENCE
    assert licence_of(tmp_path / "model_final_94dc52.pkl") == "CC BY-NC 4.0"
    assert licence_of(tmp_path / "model_final_ffffff.pkl") == UNKNOWN_LICENCE


@pytest.mark.parametrize(
    ("page", "licence"),
    [
        (None, "CC BY-NC 4.0"),
        ("---\nlicense: other\n---\ntext", "CC BY-NC 4.0"),
        ("# A model", "CC BY-NC 4.0"),
        ("---\nlicense: mit\n---\n", "mit"),
    ],
)
def test_page_that_says_nothing_leaves_the_licence_of_the_row(
    page: str | None, licence: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mask2former-swin-tiny-coco-panoptic"
    folder.mkdir()
    if page is not None:
        (folder / "README.md").write_text(page)
    assert licence_of(folder) == licence
