"""A hastened network says and learns what the network as it was built does."""

import copy

import pytest
import torch
from torch import nn

from mask2former.build import build_model
from mask2former.config import load_config
from mask2former.engine.blocks import checkpoint_gradients, find_blocks
from mask2former.model.kernels.hasten import hasten, hasten_training
from mask2former.model.mask2former import Mask2Former

SMALL = [
    "model.dim=32",
    "model.transformer_decoder.layers=3",
    "model.transformer_decoder.attention=full",  # no bit of a mask can flip
]
BACKBONES = {
    "frozen": ["model.backbone.name=resnet18"],
    "trainable": ["model.backbone.name=resnet18", "model.backbone.norm=trainable"],
    "convnext": ["model.backbone.name=convnext_atto"],
}


VARIANTS = [
    "model.pixel_decoder={kind: semantic_fpn}",
    "model.pixel_decoder={kind: bifpn}",
    "model.pixel_decoder={kind: fapn}",
    "model.transformer_decoder.attention=smca",
]


def build(backbone: str, variant: str = "model.pixel_decoder.layers=2") -> Mask2Former:
    torch.manual_seed(0)
    recipe, settings = "coco/panoptic/r50", BACKBONES.get(backbone, [])
    if backbone == "swin":
        recipe = "coco/panoptic/swin_t"
        settings = ["model.backbone.depths=[2, 2, 2, 2]", "model.backbone.embed_dim=32"]
        settings += ["model.backbone.heads=[1, 2, 4, 8]", "model.backbone.drop_path=0"]
    network = build_model(load_config(recipe, [*SMALL, variant, *settings]).model, 5)
    for module in network.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
    return network


def differentiate(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    last = network(images)[-1]
    (last.class_logits.square().mean() + last.mask_logits().square().mean()).backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return {"classes": last.class_logits.detach(), "masks": last.mask_logits().detach(), **found}


def demand_close(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Where ReLU stands near zero rounding decides: few values, but those may differ a lot.
        error = (found[name] - value).square().mean().sqrt()
        assert error <= tolerance * value.square().mean().sqrt() + 1e-7, name


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 160, 128, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("backbone", [*BACKBONES, "swin"])
@torch.no_grad()
def test_predictions_are_the_same(backbone, images):
    network = build(backbone).eval()
    quick = hasten(copy.deepcopy(network))
    for ours, expected in zip(quick(images), network(images), strict=True):
        for name in ("class_logits", "mask_embeddings", "mask_features"):
            value = getattr(expected, name)
            difference = (getattr(ours, name) - value).abs().max()
            assert difference <= 1e-4 * value.abs().max(), name
    assert quick.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("backbone", [*BACKBONES, "swin"])
def test_gradients_are_the_same(backbone, images):
    network = build(backbone).train()
    quick = hasten_training(copy.deepcopy(network))
    expected = differentiate(network, images)
    demand_close(differentiate(quick, images), expected, 1e-2)
    assert quick.training
    checkpoint_gradients(find_blocks(quick))
    if backbone != "trainable":  # its statistics have moved on
        demand_close(differentiate(copy.deepcopy(quick), images), expected, 1e-2)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_variants_say_and_learn_the_same(variant, images):
    network = build("frozen", variant)
    quick, learning = hasten(copy.deepcopy(network)), hasten_training(copy.deepcopy(network))
    with torch.no_grad():
        found, expected = quick.eval()(images)[-1], copy.deepcopy(network).eval()(images)[-1]
    for name in ("class_logits", "mask_embeddings", "mask_features"):
        difference = (getattr(found, name) - getattr(expected, name)).abs().max()
        assert difference <= 1e-4 * getattr(expected, name).abs().max(), name
    expected = differentiate(network.train(), images)
    demand_close(differentiate(learning.train(), images), expected, 1e-2)
    checkpoint_gradients(find_blocks(learning))
    demand_close(differentiate(learning, images), expected, 1e-2)


@pytest.mark.parametrize("first", [hasten, hasten_training])
def test_one_after_the_other_stays_the_same(first, images):
    network = build("frozen").eval()
    quick = hasten_training(hasten(first(copy.deepcopy(network))))
    for mode in (True, False):
        found = quick.train(mode)(images)[-1].class_logits
        expected = network.train(mode)(images)[-1].class_logits
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_statistics_do_not_learn_from_the_example():
    network = build("trainable").train()
    before = copy.deepcopy(network.state_dict())
    hasten_training(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
