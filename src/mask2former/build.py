"""Settings -> objects: the only place where names become classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import torch
from torch import Tensor, nn

from mask2former import config as c
from mask2former.categories import Categories
from mask2former.config.recipes import nearest
from mask2former.data import (
    Dataset,
    large_scale_jitter,
    resize_and_crop,
    resize_only,
)
from mask2former.data.colors import disturb, jitter
from mask2former.data.listener import STRICT, Listener
from mask2former.data.transforms import PADDING, Recolor, Transform
from mask2former.loss import mask_loss
from mask2former.loss.criterion import Criterion
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import AllPixels, RandomPoints, Sampler, UncertainPoints
from mask2former.model.backbone import TimmBackbone
from mask2former.model.bifpn import BiFPNPixelDecoder
from mask2former.model.fapn import FaPNPixelDecoder
from mask2former.model.fpn import FPNPixelDecoder
from mask2former.model.mask2former import Mask2Former
from mask2former.model.mask_pooling import MaskPooling
from mask2former.model.msdeformattn import MSDeformAttnPixelDecoder
from mask2former.model.placed_masks import SAYS, PlacedMaskHead, PlacedMasks
from mask2former.model.position import (
    Position,
    clip_position,
    picture_position,
    pixel_position,
)
from mask2former.model.queries import LearnableQueries, SampledQueries, ZeroQueries
from mask2former.model.semantic_fpn import SemanticFPNPixelDecoder
from mask2former.model.smca import ModulatedAttention
from mask2former.model.swin import Swin
from mask2former.model.transformer_decoder import (
    CrossAttention,
    MaskedTransformerDecoder,
    MaskHead,
    everywhere,
    inside_own_mask,
)
from mask2former.model.vit import STRIDE, PyramidFirst, SimpleFeaturePyramid
from mask2former.open_data import build_dataset


def build_model(model: c.Model, num_classes: int) -> Mask2Former:
    """The network with fresh weights."""
    backbone = build_backbone(model.backbone, in_channels=len(model.mean))
    in_pixels = model.transformer_decoder.position == "pixels"
    pixel_decoder = build_pixel_decoder(
        model.pixel_decoder,
        backbone.channels,
        model.dim,
        position=pixel_position if in_pixels else picture_position,
    )
    mask_head: nn.Module = MaskHead([model.dim] * 4)
    if model.placed_masks:
        pixel_decoder = PlacedMasks(pixel_decoder)
        mask_head = PlacedMaskHead(MaskHead([*[model.dim] * 3, model.dim + SAYS]))
    return Mask2Former(
        backbone,
        pixel_decoder,
        build_transformer_decoder(model.transformer_decoder, model.dim, num_classes, mask_head),
        mean=model.pixel_mean,
        std=model.pixel_std,
    )


def build_backbone(
    backbone: c.TimmBackbone | c.SwinBackbone, in_channels: int
) -> TimmBackbone | Swin:
    """Features at strides 4, 8, 16 and 32, or of a plain transformer at 16."""
    match backbone:
        case c.TimmBackbone(name=name, norm=norm):
            return TimmBackbone(name, norm=norm, in_channels=in_channels)
        case c.SwinBackbone():
            return Swin(
                embed_dim=backbone.embed_dim,
                depths=backbone.depths,
                heads=backbone.heads,
                window=backbone.window,
                drop_path=backbone.drop_path,
                in_channels=in_channels,
            )


def build_pixel_decoder(
    decoder: c.PixelDecoder, channels: dict[int, int], dim: int, *, position: Position
) -> nn.Module:
    """Mask features at stride 4 and the pyramid."""
    if channels.keys() == {STRIDE}:
        first = SimpleFeaturePyramid(channels[STRIDE])
        rest = build_pixel_decoder(decoder, first.channels, dim, position=position)
        return PyramidFirst(first, rest)
    match decoder:
        case c.MSDeformAttn():
            return MSDeformAttnPixelDecoder(
                channels,
                dim=dim,
                mask_dim=dim,
                layers=decoder.layers,
                heads=decoder.heads,
                points=decoder.points,
                feedforward=decoder.feedforward,
                position=position,
            )
        case c.FPN():
            return FPNPixelDecoder(channels, dim=dim, mask_dim=dim)
        case c.SemanticFPN(channels=summed):
            return SemanticFPNPixelDecoder(channels, dim=dim, mask_dim=dim, summed=summed)
        case c.BiFPN(layers=layers):
            return BiFPNPixelDecoder(channels, dim=dim, mask_dim=dim, layers=layers)
        case c.FaPN(groups=groups):
            return FaPNPixelDecoder(channels, dim=dim, mask_dim=dim, groups=groups)


def build_transformer_decoder(
    decoder: c.TransformerDecoder, dim: int, num_classes: int, mask_head: nn.Module
) -> MaskedTransformerDecoder:
    """The queries and what they go through."""
    position = {"2d": picture_position, "3d": clip_position, "pixels": pixel_position}[
        decoder.position
    ]
    attention, cross = {
        "masked": (inside_own_mask, CrossAttention),
        "full": (everywhere, CrossAttention),
        "smca": (everywhere, ModulatedAttention),
        "mask_pooling": (inside_own_mask, MaskPooling),
    }[decoder.attention]
    match decoder.queries:
        case "learnable":
            queries: nn.Module = LearnableQueries(decoder.num_queries, dim)
        case "zero":
            queries = ZeroQueries(decoder.num_queries, dim)
        case c.SampledQueries(spacing=spacing):
            finest = min(stride for level in decoder.levels for stride in level)
            queries = SampledQueries(dim, spacing=spacing, stride=finest, position=position)
    return MaskedTransformerDecoder(
        queries,
        num_classes=num_classes,
        position=position,
        dim=dim,
        mask_head=mask_head,
        heads=decoder.heads,
        layers=decoder.layers,
        feedforward=decoder.feedforward,
        dropout=decoder.dropout,
        levels=decoder.levels,
        order=decoder.order,
        attention=attention,
        cross=cross,
    )


def build_criterion(loss: c.Loss, categories: Categories | None = None) -> Criterion:
    """Matching and supervision; `categories` are those whose weights the settings name."""
    masks = {"cross_entropy": mask_loss.cross_entropy, "focal": mask_loss.focal}[loss.mask_loss]
    supervise: dict[str, Callable[[], Sampler]] = {
        "uncertain_points": lambda: UncertainPoints(loss.num_points),
        "random_points": lambda: RandomPoints(loss.num_points),
        "pixels": AllPixels,
    }
    matcher = Matcher(
        class_weight=loss.class_weight,
        mask_weight=loss.mask_weight,
        dice_weight=loss.dice_weight,
        sampler=RandomPoints(loss.num_points) if loss.match_on == "points" else AllPixels(),
        mask_loss=masks,
    )
    return Criterion(
        matcher=matcher,
        class_weight=loss.class_weight,
        mask_weight=loss.mask_weight,
        dice_weight=loss.dice_weight,
        no_object_weight=loss.no_object_weight,
        object_weights=None if categories is None else weigh_classes(loss, categories),
        sampler=supervise[loss.supervise_on](),
        mask_loss=masks,
        supervise_queries=loss.supervise_queries,
    )


def weigh_classes(loss: c.Loss, categories: Categories) -> Tensor | None:
    """The weights of the classes in the class loss, (K,), where the settings name some."""
    weights = loss.class_weights
    if weights is None:
        return None
    assert weights != "auto", "who knows the data has put numbers in its place"
    for name in weights:
        if name not in categories.names:
            raise ValueError(
                f"loss.class_weights: no class is called '{name}'{nearest(name, categories.names)}"
            )
    return torch.tensor([weights.get(name, 1.0) for name in categories.names])


def build_splits(data: c.Data, task: c.Task) -> tuple[Dataset, Dataset]:
    """The training and the validation set, as the folds and limits of the settings leave them."""
    found = open_splits(data, task, STRICT)
    return found["train"], found["val"]


def open_splits(data: c.Data, task: c.Task, listener: Listener) -> dict[c.SplitName, Dataset]:
    """The same by name, but for a split that cannot be opened at all: that is a fault."""
    train = _open_or_tell(data, data.train, task, None, listener)
    val = train
    if data.fold is None:
        categories = None if train is None else train.categories
        val = _open_or_tell(data, data.val, task, categories, listener)
    pairs: list[tuple[c.SplitName, Dataset | None]] = [("train", train), ("val", val)]
    return {name: choose_split(whole, data, name) for name, whole in pairs if whole is not None}


def _open_or_tell(
    data: c.Data,
    source: c.Split,
    task: c.Task,
    categories: Categories | None,
    listener: Listener,
) -> Dataset | None:
    try:
        return build_dataset(data, source, task, categories=categories, listener=listener)
    except ValueError as error:
        listener.fault((data.root or Path()) / (source.annotations or ""), "", error)
        return None


def build_split(data: c.Data, split: c.SplitName, task: c.Task, categories: Categories) -> Dataset:
    """One split alone, with the labels of a trained model."""
    source = data.source(split)
    if split == "test" and source == c.Split():
        raise ValueError(
            "there is no test split; data.test.images and data.test.annotations name one"
        )
    return choose_split(build_dataset(data, source, task, categories=categories), data, split)


def choose_split(dataset: Dataset, data: c.Data, split: c.SplitName) -> Dataset:
    """The pictures that the fold gives to a split, and of these the first."""
    chosen: Sequence[int] = range(len(dataset))
    if data.fold is not None and split != "test":
        held_back = set(hold_back(dataset, data.fold))
        chosen = [i for i in chosen if (i in held_back) == (split == "val")]
    return dataset.select(chosen[: data.first])


def hold_back(dataset: Dataset, fold: tuple[int, int] | str) -> Sequence[int]:
    """The pictures of a fold. Raises ValueError where a pattern fits none or all of them."""
    everything = range(len(dataset))
    if not isinstance(fold, str):
        return everything[fold[0] :: fold[1]]
    chosen = [i for i in everything if PurePath(dataset.file(i)).match(fold)]
    if len(chosen) in (0, len(everything)):
        raise ValueError(
            f"data.fold={fold} fits {'all' if chosen else 'none'} of {len(everything)} pictures, "
            f"such as {dataset.file(0)}; it is a pattern that the ends of some paths match"
        )
    return chosen


def padding_of(config: c.Config) -> Sequence[float]:
    """The colour around training pictures that are smaller than their crop.

    It is detectron2's grey for 8-bit RGB, and the mean for pictures that count otherwise.
    """
    return (PADDING,) if config.data.channels is None else config.model.pixel_mean


def build_augmentation(
    augmentation: c.Augmentation, padding: Sequence[float] = (PADDING,)
) -> Transform:
    """Sample -> sample; `padding` is the colour around pictures smaller than the crop."""
    match augmentation:
        case c.LargeScaleJitter():
            return large_scale_jitter(
                augmentation.size, augmentation.scale, augmentation.flips, padding
            )
        case c.ResizeAndCrop():
            changes = {False: [], True: [Recolor(jitter)], "strong": [Recolor(disturb)]}
            return resize_and_crop(
                augmentation.short_edges,
                augmentation.max_size,
                augmentation.crop,
                color=changes[augmentation.color],
                flips=augmentation.flips,
                padding=padding,
            )
        case c.Fit():
            return resize_only(augmentation.size, padding)
