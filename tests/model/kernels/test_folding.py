"""Folded batch norms: the same function, with less to do."""

import copy

import pytest
import torch

from mask2former.model.backbone import TimmBackbone
from mask2former.model.kernels.folding import fold_batch_norms, fold_frozen_norms

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


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_norms_folded_in_training_give_the_same_gradients(name: str) -> None:
    plain = make(name, "frozen").double().train()
    folded = copy.deepcopy(plain)
    example = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    assert fold_frozen_norms(folded, example) == NETWORKS[name]
    assert folded.training
    assert folded.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for backbone in (plain, folded):
        sum(maps.square().mean() for maps in backbone(images).values()).backward()
    learnt = zip(plain.named_parameters(), folded.parameters(), strict=True)
    for (key, expected), found in learnt:
        assert (expected.grad is None) == (found.grad is None), key  # the last stage may be unused
        if expected.grad is not None:
            scale = expected.grad.abs().max()
            assert (found.grad - expected.grad).abs().max() <= 1e-9 * scale, key


def test_norms_that_learn_are_not_folded_in_training() -> None:
    backbone = make("resnet18", "trainable").train()
    statistics = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert fold_frozen_norms(backbone, torch.zeros(1, 3, 64, 64)) == 0
    assert backbone.training
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, statistics[key]), key
