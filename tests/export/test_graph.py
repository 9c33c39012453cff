"""What is put otherwise for graphs stays the same function."""

from dataclasses import replace

import pytest
import torch

from mask2former.build import build_model
from mask2former.config import override_config
from mask2former.export.export import origin
from mask2former.export.graph import make_graph, prepare, trace
from mask2former.export.plan import Plan
from mask2former.masks import _sample_by_corners, sample
from mask2former.model.backbone import TimmBackbone, fix_padding


def test_fixed_padding_is_that_of_inputs_of_multiples_of_32():
    backbone = TimmBackbone("tf_efficientnet_lite0").eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(images)
        fix_padding(backbone)
        found = backbone(images)
    for stride, maps in expected.items():
        torch.testing.assert_close(found[stride], maps)


def test_maps_are_sampled_by_corners_as_by_grid_sample():
    maps, points = torch.randn(2, 3, 5, 7), 1.2 * torch.rand(2, 11, 2) - 0.1
    torch.testing.assert_close(_sample_by_corners(maps, points), sample(maps, points))


def test_error_is_told_by_its_origin() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise ValueError("a view that cannot be")
        except ValueError as error:
            raise RuntimeError("step 2 of 3 failed") from error
    assert str(origin(caught.value)) == "a view that cannot be"


@torch.no_grad()
def test_graph_of_a_vit_of_one_size_has_no_operation_that_openvino_lacks(build) -> None:
    _, card = build()
    config = override_config(card.config, ["model.backbone.name=test_vit"])
    network = build_model(config.model, len(card.categories)).eval()
    card = replace(card, config=config)
    plan = Plan(format="openvino", size=(64, 96))
    graph = make_graph(network, card, plan)
    program = trace(prepare(graph, plan), plan)
    assert not any("_aa" in str(node.target) for node in program.graph.nodes)
    images = 255 * torch.rand(1, 3, 64, 96)
    found, expected = program.module()(images)[0], graph(images)[0]  # what each query is
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
