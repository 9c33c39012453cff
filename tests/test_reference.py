"""What settings there are, told to people: the page of the docs, and recipes written whole."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

from mask2former.config import Config, load_config, override_config, parse_config
from mask2former.config.recipes import recipe_names
from mask2former.config.reference import branches, write_recipe

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", recipe_names())
def test_written_recipe_gives_the_same_settings(name: str) -> None:
    config = load_config(name)
    assert parse_config(yaml.safe_load(write_recipe(config)), name) == config


def test_written_recipe_holds_awkward_text() -> None:
    config = override_config(
        Config(),
        [
            'data.root="D:\\\\pictures: all # of them"',
            "data.classes=[{id: 0, name: 'Ärger: no'}, {id: 1, name: 'on'}]",
            'data.merge={"a, b": ["yes", "1"]}',
            "test.tta={}",
        ],
    )
    assert parse_config(yaml.safe_load(write_recipe(config)), "text") == config


def test_written_recipe_tells_every_setting_in_lines_of_a_terminal() -> None:
    text = write_recipe(load_config("nuclei"))
    assert "  steps: 3000  # of the optimiser\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{branch.key}.{setting.name}"
        for branch in branches()
        for setting in branch.settings
        if not setting.meaning
    ]
    assert not silent


def test_branches_are_all_there() -> None:
    """Every leaf of the whole tree, and the variants that are no defaults."""
    told = {(branch.key, setting.name) for branch in branches() for setting in branch.settings}
    leaves = {*_leaves(load_config("nuclei").model_dump(), "")}
    assert leaves <= {f"{key}.{name}" for key, name in told}
    variants = {branch.variant for branch in branches() if branch.key == "model.pixel_decoder"}
    assert variants == {"msdeformattn", "fpn", "semantic_fpn", "bifpn", "fapn"}


def _leaves(tree: dict, above: str) -> list[str]:
    leaves = []
    for name, value in tree.items():
        key = f"{above}.{name}" if above else name
        if isinstance(value, dict) and value:
            leaves += _leaves(value, key)
        elif name != "kind" or above == "train.schedule":
            leaves.append(key)
    return leaves


def test_page_of_the_docs_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "tools/settings_page.py"))["page"]()
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8").strip() == page.strip()
