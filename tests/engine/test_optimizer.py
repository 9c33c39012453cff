"""The official parameter groups and schedules (model_facts of the official code, section 3)."""

import math

import pytest
from torch import nn

from mask2former.build import build_model
from mask2former.config import (
    Config,
    Schedule,
    SwinBackbone,
    Train,
    dump_config,
    parse_config,
)
from mask2former.engine.optimizer import build_optimizer, learning_rate_factor

SMALL_SWIN = SwinBackbone(embed_dim=24, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    model = Config().model.model_copy(update={"backbone": SMALL_SWIN})
    return build_model(model, num_classes=5)


def groups_by_name(network: nn.Module, train: Train) -> dict[str, dict]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: group
        for group in build_optimizer(network, train).param_groups
        for parameter in group["params"]
    }


def test_every_parameter_is_in_exactly_one_group(network: nn.Module) -> None:
    groups = build_optimizer(network, Train()).param_groups
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(given) == sorted(id(parameter) for parameter in network.parameters())


def test_backbone_learns_slower_and_nothing_else_does(network: nn.Module) -> None:
    for name, group in groups_by_name(network, Train(learning_rate=1e-4)).items():
        expected = 1e-5 if name.startswith("backbone.") else 1e-4
        assert group["lr"] == pytest.approx(expected), name


def test_only_norms_embeddings_and_bias_tables_are_not_decayed(network: nn.Module) -> None:
    spared = {
        f"{module_name}.{name}"
        for module_name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d | nn.Embedding)
        for name, _ in module.named_parameters(recurse=False)
    }
    for name, group in groups_by_name(network, Train(weight_decay=0.05)).items():
        kept = name in spared or name.endswith("relative_position_bias_table")
        assert group["weight_decay"] == (0.0 if kept else 0.05), name


@pytest.mark.parametrize(
    ("ending", "decay"),
    [
        ("pixel_decoder.level_embed", 0.05),  # a bare parameter, decayed in the official code
        ("transformer_decoder.level_embed.weight", 0.0),
        ("queries.content.weight", 0.0),
        ("queries.position.weight", 0.0),
        ("in_proj_bias", 0.05),  # biases are decayed
        ("relative_position_bias_table", 0.0),
    ],
)
def test_official_cases_are_met(network: nn.Module, ending: str, decay: float) -> None:
    groups = groups_by_name(network, Train(weight_decay=0.05))
    found = [group["weight_decay"] for name, group in groups.items() if name.endswith(ending)]
    assert set(found) == {decay}


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    groups = build_optimizer(model, Train()).param_groups
    assert [len(group["params"]) for group in groups] == [2]


def test_poly_is_the_official_power() -> None:
    factor = learning_rate_factor(Schedule(kind="poly"), 160_000)
    assert factor(0) == 1.0
    assert factor(80_000) == pytest.approx(0.5**0.9)
    assert factor(160_000) == 0.0


def test_steps_fall_at_the_official_places() -> None:
    factor = learning_rate_factor(Schedule(kind="step", milestones=(0.5, 0.75)), 100)
    falls = [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert [factor(s) for s in (0, 49, 50, 74, 75, 100)] == pytest.approx(falls)
    coco = learning_rate_factor(Schedule(kind="step"), 368_750)
    assert [coco(s) for s in (327_777, 327_778)] == pytest.approx([1.0, 0.1])
    assert [coco(s) for s in (355_091, 355_092)] == pytest.approx([0.1, 0.01])
    read = parse_config(dump_config(Config()), "JSON").train.schedule.milestones
    assert read == Schedule().milestones


def test_cosine_falls_to_zero_and_stays() -> None:
    factor = learning_rate_factor(Schedule(kind="cosine"), 200)
    assert factor(0) == 1.0
    assert factor(50) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(200) == factor(250) == pytest.approx(0.0, abs=1e-12)


def test_warmup_climbs_to_the_schedule() -> None:
    factor = learning_rate_factor(Schedule(kind="step", warmup=4), 100)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
