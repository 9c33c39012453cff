"""Folded batch norms: the same function, with less to do."""

import copy

import pytest
import torch

from mask2former.model.backbone import TimmBackbone
from mask2former.model.folding import fold_batch_norms

# Plain, with activations inside the norms, with norms before convolutions, without batch norms.
NETWORKS = {
    "resnet18": 20,
    "tf_efficientnet_lite0": 43,  # convolutions that pad as TensorFlow does stay as they are
    "resnetv2_18": 8,
    "convnext_atto": 0,
}


def make(name: str, norm: str) -> TimmBackbone:
    torch.manual_seed(0)
    backbone = TimmBackbone(name, norm=norm)  # pyrefly: ignore[bad-argument-type]
    for module in backbone.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_()
            module.weight.data.uniform_(-0.5, 1.5)
            module.bias.data.normal_()
    return backbone.eval()


@pytest.mark.parametrize("norm", ["frozen", "trainable"])
@pytest.mark.parametrize("name", NETWORKS)
def test_folding_keeps_the_function_and_the_names(name: str, norm: str) -> None:
    backbone = make(name, norm)
    folded = copy.deepcopy(backbone)
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        before = backbone(images)
        count = fold_batch_norms(folded, torch.zeros(1, 3, 64, 64))
        after = copy.deepcopy(folded)(images)
    assert count == NETWORKS[name]
    for stride in before:
        scale = before[stride].abs().max()
        torch.testing.assert_close(after[stride], before[stride], rtol=0, atol=1e-5 * scale.item())
    assert folded.state_dict().keys() == backbone.state_dict().keys()


def test_folding_twice_changes_nothing_more() -> None:
    backbone = make("resnet18", "frozen")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert fold_batch_norms(backbone, images) == 20
        once = backbone(images)
        fold_batch_norms(backbone, images)
        torch.testing.assert_close(backbone(images)[32], once[32])


def test_folded_frozen_norms_learn_on() -> None:
    backbone = make("resnet18", "frozen")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(images)[32]
        fold_batch_norms(backbone, images)
    after = backbone.train()(images)[32]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    after.sum().backward()
    assert backbone.body.conv1.weight.grad is not None
