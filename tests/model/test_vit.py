"""Plain ViTs as backbones: one map at stride 16, four from the simple feature pyramid."""

import copy

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from mask2former import config as c
from mask2former.build import build_model
from mask2former.config import Train
from mask2former.convert.read import read_tensors
from mask2former.engine.blocks import find_blocks
from mask2former.engine.optimizer import build_optimizer
from mask2former.engine.start import freeze, initialise_backbone
from mask2former.model import backbone as room
from mask2former.model.backbone import (
    TimmBackbone,
    fix_positions,
    load_pretrained,
    load_tensors,
)
from mask2former.model.kernels.short_masks import shorten_masks
from mask2former.model.mask2former import Mask2Former
from mask2former.model.vit import PyramidFirst, SimpleFeaturePyramid

# A class token; registers and no last norm; patches of 14 with registers; rotary positions.
PLAIN = ["test_vit", "test_vit2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"]


def make(name: str, *, channels: int = 3) -> TimmBackbone:
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    return TimmBackbone(name, in_channels=channels).eval()


def build(pixel_decoder: c.PixelDecoder | None = None, **model: object) -> Mask2Former:
    settings = c.Model(
        dim=32,
        backbone=c.TimmBackbone(name="test_vit"),
        pixel_decoder=pixel_decoder or c.MSDeformAttn(layers=1, feedforward=32),
        transformer_decoder=c.TransformerDecoder(layers=3, feedforward=32, num_queries=4),
    )
    return build_model(settings.model_copy(update=model), 5)


@torch.no_grad()
@pytest.mark.parametrize("name", PLAIN)
def test_plain_vit_gives_a_map_at_stride_16(name):
    backbone = make(name)
    features = backbone(torch.randn(2, 3, 64, 96))
    assert backbone.channels == {16: features[16].shape[1]}
    assert features[16].shape[-2:] == (4, 6)


@torch.no_grad()
@pytest.mark.oracle
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "vit_small_patch16_dinov3"])
def test_map_is_the_whole_models_features(name):
    backbone = make(name)
    theirs = timm.create_model(name, img_size=(64, 96), dynamic_img_size=False).eval()
    given = backbone.body.state_dict()
    if "pos_embed" in given:  # theirs was made for this size
        given["pos_embed"] = resample_abs_pos_embed(
            given["pos_embed"],
            new_size=(4, 6),
            num_prefix_tokens=0 if theirs.no_embed_class else theirs.num_prefix_tokens,
        )
    missing = theirs.load_state_dict(given, strict=False).missing_keys
    assert all(key.startswith(("head.", "fc_norm.")) for key in missing)
    images = torch.randn(2, 3, 64, 96)
    tokens = theirs.forward_features(images)[:, theirs.num_prefix_tokens :]
    expected = tokens.transpose(1, 2).unflatten(2, (4, 6))
    torch.testing.assert_close(backbone(images)[16], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "patch"), [("vit_small_patch14_dinov2", 14), ("8", 8), ("32", 32)]
)
def test_patches_lie_on_the_grid_of_stride_16(name, patch, monkeypatch):
    if name.isdigit():  # the tiny network, with other patches
        create = timm.create_model
        monkeypatch.setattr(
            room,
            "timm",
            type("Timm", (), {"create_model": lambda *a, **k: create(*a, **k, patch_size=patch)}),
        )
        name = "test_vit"
    backbone = make(name)
    seen: list[Tensor] = []
    backbone.body.patch_embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    # In every patch of 16 x 16 another grey: the transformer must see it in a patch of its own.
    greys = torch.rand(1, 3, 4, 6)
    features = backbone(greys.repeat_interleave(16, 2).repeat_interleave(16, 3))
    assert features[16].shape[-2:] == (4, 6)
    assert seen[0].shape[-2:] == (4 * patch, 6 * patch)
    inner = seen[0].unflatten(2, (4, patch)).unflatten(4, (6, patch))[:, :, :, 3:-3, :, 3:-3]
    inner = inner.movedim(4, 3)  # (N, 3, 4, 6, patch - 6, patch - 6)
    torch.testing.assert_close(inner, greys[..., None, None].expand_as(inner), atol=1e-5, rtol=0)


@torch.no_grad()
def test_pyramid_is_vitdets():
    pyramid = SimpleFeaturePyramid(32).eval()
    x = torch.randn(2, 32, 4, 6)
    maps = pyramid({16: x})
    assert {stride: tuple(m.shape) for stride, m in maps.items()} == {
        4: (2, 8, 16, 24),
        8: (2, 16, 8, 12),
        16: (2, 32, 4, 6),
        32: (2, 32, 2, 3),
    }
    assert pyramid.channels == {stride: m.shape[1] for stride, m in maps.items()}
    assert maps[16] is x
    torch.testing.assert_close(maps[32], x.unflatten(2, (2, 2)).unflatten(4, (3, 2)).amax((3, 5)))
    # A pixel of a finer map hangs on the one below it alone, by the weight of its corner.
    corners = pyramid.to_8
    corner = torch.einsum("nchw,cd->ndhw", x, corners.weight[:, :, 0, 1])
    corner = corner + corners.bias[:, None, None]
    torch.testing.assert_close(maps[8][:, :, 0::2, 1::2], corner, atol=1e-5, rtol=1e-5)
    first, norm, _, _ = pyramid.to_4
    normed = norm(first(x))
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 8, 12), atol=1e-5, rtol=0)


DECODERS = [c.MSDeformAttn(layers=1, feedforward=32), c.FPN(), c.SemanticFPN(), c.BiFPN(), c.FaPN()]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.kind)
def test_gradients_reach_every_parameter(decoder):
    network = build(decoder)
    assert isinstance(network.pixel_decoder, PyramidFirst)
    clips = 255 * torch.rand(1, 2, 3, 64, 96)
    predictions = network(clips)
    assert predictions[-1].mask_logits().shape == (1, 4, 2, 16, 24)
    sum(part.square().sum() for p in predictions for part in p).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_other_channels_are_fitted():
    full = timm.create_model("test_vit")
    four = make("test_vit", channels=4)
    load_tensors(four.body, full.state_dict(), "the full model")
    kernel = full.patch_embed.proj.weight
    torch.testing.assert_close(four.body.patch_embed.proj.weight[:, :3], kernel * 3 / 4)


def test_weights_come_from_a_file_of_timms(tmp_path):
    full = timm.create_model("test_vit")
    file = tmp_path / "vit.pth"
    torch.save(full.state_dict(), file)
    network = build()
    initialise_backbone(network, c.TimmBackbone(name="test_vit", weights=str(file)), print)
    given = read_tensors(file).tensors
    for name, tensor in network.backbone.body.state_dict().items():
        torch.testing.assert_close(tensor, given[name])


def test_weights_come_from_timms_cache(monkeypatch):
    full = timm.create_model("test_vit")
    asked = []

    def create(name: str, **arguments: object) -> nn.Module:
        asked.append((name, arguments))
        return full

    backbone = make("test_vit")
    monkeypatch.setattr(room, "timm", type("Timm", (), {"create_model": staticmethod(create)}))
    load_pretrained(backbone)
    assert asked == [("test_vit", {"dynamic_img_size": True, "pretrained": True})]
    torch.testing.assert_close(backbone.body.norm.weight, full.norm.weight)
    torch.testing.assert_close(backbone.body.pos_embed, full.pos_embed)


def test_random_weights_are_said_without_batch_norms(capsys):
    initialise_backbone(build(), c.TimmBackbone(name="test_vit"), print)
    assert "batch norms" not in capsys.readouterr().out


def test_frozen_backbone_leaves_the_pyramid_to_learn():
    network = build()
    freeze(network, ["backbone"])
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert not any(name.startswith("backbone.") for name in learning)
    assert any(name.startswith("pixel_decoder.pyramid.") for name in learning)


def test_positions_tokens_and_layer_scales_are_not_decayed():
    network = nn.ModuleDict({"backbone": make("vit_small_patch14_reg4_dinov2")})
    names = {id(p): name for name, p in network.named_parameters()}
    spared = set()
    for group in build_optimizer(network, Train(weight_decay=0.05)).param_groups:
        assert group["lr"] == pytest.approx(1e-5)
        if group["weight_decay"] == 0:
            spared |= {names[id(p)].rpartition("body.")[2] for p in group["params"]}
    assert {"pos_embed", "cls_token", "reg_token", "blocks.3.ls1.gamma"} <= spared
    assert {"norm.weight", "blocks.0.norm1.bias"} <= spared
    assert not any("attn" in name or "mlp" in name or "proj" in name for name in spared)


def test_pyramid_learns_at_full_rate():
    network = build()
    names = {id(p): name for name, p in network.named_parameters()}
    for group in build_optimizer(network, Train(learning_rate=1e-4)).param_groups:
        for parameter in group["params"]:
            in_backbone = names[id(parameter)].startswith("backbone.")
            assert group["lr"] == pytest.approx(1e-5 if in_backbone else 1e-4)


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch16_dinov3"])
def test_blocks_of_the_transformer_are_found(name):
    backbone = make(name)
    assert find_blocks(backbone) == list(backbone.body.blocks)


@torch.no_grad()
def test_bf16_is_near_fp32():
    backbone = make("vit_small_patch14_dinov2")
    images = torch.randn(1, 3, 64, 64)
    expected = backbone(images)[16]
    with torch.autocast("cpu", torch.bfloat16):
        found = backbone(images)[16]
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch14_dinov2"])
def test_graph_is_of_any_size(name):
    backbone = make(name)
    rows, columns = (32 * torch.export.Dim(side, min=2, max=64) for side in ("rows", "columns"))
    program = torch.export.export(
        backbone, (torch.randn(2, 3, 64, 96),), dynamic_shapes=({2: rows, 3: columns},)
    )
    images = torch.randn(2, 3, 96, 128)
    torch.testing.assert_close(program.module()(images)[16], backbone(images)[16])


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "vit_small_patch14_reg4_dinov2"])
def test_fixed_positions_are_those_of_the_size(name):
    backbone = make(name, channels=4)
    images = torch.randn(1, 4, 64, 96)
    expected = backbone(images)[16]
    fix_positions(backbone, (64, 96))
    torch.testing.assert_close(backbone(images)[16], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(AssertionError, match="doesn't match model"):
        backbone(torch.randn(1, 4, 96, 96))


@torch.no_grad()
def test_graph_of_rotary_positions_is_of_one_size():
    backbone = make("vit_small_patch16_dinov3")
    images = torch.randn(2, 3, 64, 96)
    program = torch.export.export(backbone, (images,))
    torch.testing.assert_close(program.module()(images)[16], backbone(images)[16])


@torch.no_grad()
def test_short_masks_are_the_same_masks():
    network = build(placed_masks=False).eval()
    short = copy.deepcopy(network)
    assert shorten_masks(short)
    images = 255 * torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(
        short(images)[-1].mask_logits(), network(images)[-1].mask_logits(), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["mixer_b16_224", "test_vit_relpos"])
def test_one_map_of_one_size_is_refused(name):
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    with pytest.raises(ValueError, match=rf"'{name}' has maps at one stride only and takes.*; cho"):
        TimmBackbone(name)
