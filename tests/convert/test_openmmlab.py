"""Files of mmdetection and mmsegmentation, both generations of names."""

from __future__ import annotations

import sys
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mask2former.convert.foreign import read_foreign
from mask2former.convert.openmmlab import OPENMMLAB
from mask2former.convert.rows import to_theirs
from mask2former.model.swin import PatchMerging

NAMES = {  # as mmdetection 3's modules spell them
    "swin": [
        "backbone.patch_embed.projection.weight",
        "backbone.stages.1.blocks.0.attn.w_msa.qkv.bias",
        "backbone.stages.1.blocks.0.attn.w_msa.relative_position_bias_table",
        "backbone.stages.2.blocks.1.ffn.layers.0.0.weight",
        "backbone.stages.2.blocks.1.ffn.layers.1.weight",
        "backbone.stages.0.downsample.reduction.weight",
        "panoptic_head.pixel_decoder.input_convs.2.gn.bias",
        "panoptic_head.pixel_decoder.level_encoding.weight",
        "panoptic_head.pixel_decoder.encoder.layers.0.self_attn.sampling_offsets.weight",
        "panoptic_head.pixel_decoder.encoder.layers.0.ffn.layers.0.0.weight",
        "panoptic_head.pixel_decoder.lateral_convs.0.conv.weight",
        "panoptic_head.pixel_decoder.output_convs.0.gn.weight",
        "panoptic_head.pixel_decoder.mask_feature.bias",
        "panoptic_head.transformer_decoder.layers.1.cross_attn.attn.in_proj_weight",
        "panoptic_head.transformer_decoder.layers.1.self_attn.attn.out_proj.bias",
        "panoptic_head.transformer_decoder.layers.1.ffn.layers.1.bias",
        "panoptic_head.transformer_decoder.layers.1.norms.2.weight",
        "panoptic_head.transformer_decoder.post_norm.weight",
        "panoptic_head.query_feat.weight",
        "panoptic_head.cls_embed.weight",
        "panoptic_head.mask_embed.4.weight",
    ],
    "resnet50": [
        "backbone.conv1.weight",
        "backbone.bn1.running_mean",
        "backbone.layer1.0.downsample.1.weight",
        "backbone.layer4.2.conv3.weight",
        "panoptic_head.level_embed.weight",
    ],
}


def as_version_2(name: str) -> str:
    """The older spelling: numbered attentions and feed-forward networks."""
    if "_head.transformer_decoder.layers" in name:
        name = name.replace(".cross_attn.", ".attentions.0.").replace(
            ".self_attn.", ".attentions.1."
        )
    return name.replace(".self_attn.", ".attentions.0.").replace(".ffn.layers", ".ffns.0.layers")


def save(path, tensors, **beside):
    torch.save({"state_dict": OrderedDict(tensors), **beside}, path)
    return path


@pytest.mark.parametrize("backbone", ["swin", "resnet50"])
@pytest.mark.parametrize("head", ["panoptic_head.", "decode_head.", "track_head."])
@pytest.mark.parametrize("version", [2, 3])
def test_every_spelling_gives_back_the_weights(forge, tmp_path, backbone, head, version):
    weights = forge.weights(forge.small(backbone))
    tensors = to_theirs(weights, OPENMMLAB)
    assert {*NAMES[backbone]} <= tensors.keys()
    tensors = {n.replace("panoptic_head.", head): tensor for n, tensor in tensors.items()}
    if version == 2:
        # The backbone's `ffn` has one name in both.
        tensors = {
            n if n.startswith("backbone.") else as_version_2(n): t for n, t in tensors.items()
        }
    read, card, _ = read_foreign(save(tmp_path / "model.pth", tensors))
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    position = card.config.model.transformer_decoder.position
    assert position == ("3d" if head == "track_head." else "2d")


@torch.no_grad()
def test_patch_merging_equals_unfolding(forge):
    """Their merging as mmcv has it: nn.Unfold, norm, linear."""
    weights = forge.weights(forge.small())
    theirs = to_theirs(weights, OPENMMLAB)
    norm_weight, norm_bias, reduction = (
        theirs[f"backbone.stages.0.downsample.{name}"]
        for name in ("norm.weight", "norm.bias", "reduction.weight")
    )
    maps = torch.randn(2, 32, 6, 10)
    unfolded = F.unfold(maps, kernel_size=2, stride=2).transpose(1, 2)
    expected = F.linear(F.layer_norm(unfolded, (128,), norm_weight, norm_bias), reduction)
    prefix = "backbone.layers.0.downsample."
    merging = PatchMerging(32)
    merging.load_state_dict(
        {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    )
    ours = merging(maps.permute(0, 2, 3, 1)).flatten(1, 2)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_class_names_beside_the_weights_are_read(forge, tmp_path):
    tensors = to_theirs(forge.weights(forge.small()), OPENMMLAB)
    meta = {"dataset_meta": {"classes": ("line", "dot", "cross")}, "epoch": 3}
    card = read_foreign(save(tmp_path / "a.pth", tensors, meta=meta)).card
    assert card.categories.names == ["line", "dot", "cross"]
    old = {"CLASSES": ("line", "dot", "cross")}
    card = read_foreign(save(tmp_path / "b.pth", tensors, meta=old)).card
    assert card.categories.names == ["line", "dot", "cross"]


def make_framework(monkeypatch) -> ModuleType:
    """A stand-in of a training framework, importable while the file is written."""
    module = ModuleType("mmengine.logging")

    class HistoryBuffer:
        def __init__(self):
            self.values = np.arange(3.0)

        def mean(self):
            raise AssertionError("nothing of a file is run")

        def __getstate__(self):
            return {**self.__dict__, "statistics": {"mean": HistoryBuffer.mean}}

    class ConfigDict(dict):
        pass

    for kind in (HistoryBuffer, ConfigDict):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    HistoryBuffer.mean.__module__ = module.__name__
    HistoryBuffer.mean.__qualname__ = "HistoryBuffer.mean"
    monkeypatch.setitem(sys.modules, "mmengine", ModuleType("mmengine"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_objects_of_the_framework_become_inert(forge, tmp_path, monkeypatch):
    weights = forge.weights(forge.small())
    with monkeypatch.context() as patch:
        framework = make_framework(patch)
        path = save(
            tmp_path / "epoch_50.pth",
            to_theirs(weights, OPENMMLAB),
            message_hub={"loss": framework.HistoryBuffer(), "best": np.float64(0.5)},
            meta={"cfg": framework.ConfigDict(model=1), "dataset_meta": {"classes": ("a",)}},
        )
    read = read_foreign(path).weights
    assert all(torch.equal(read[name], weights[name]) for name in weights)
