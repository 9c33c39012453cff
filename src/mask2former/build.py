"""Settings -> objects: the only place where names become classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from torch import nn

from mask2former import config as c
from mask2former.categories import Categories
from mask2former.data import (
    Cityscapes,
    CocoInstances,
    CocoPanoptic,
    Dataset,
    LabelMaps,
    Shapes,
    YouTubeVIS,
    large_scale_jitter,
    resize_and_crop,
    resize_only,
)
from mask2former.data.transforms import ColorJitterSSD, Transform
from mask2former.files import read_json
from mask2former.loss import mask_loss
from mask2former.loss.criterion import Criterion
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import AllPixels, RandomPoints, Sampler, UncertainPoints
from mask2former.model.backbone import TimmBackbone
from mask2former.model.fpn import FPNPixelDecoder
from mask2former.model.mask2former import Mask2Former
from mask2former.model.msdeformattn import MSDeformAttnPixelDecoder
from mask2former.model.placed_masks import SAYS, PlacedMaskHead, PlacedMasks
from mask2former.model.position import (
    Position,
    clip_position,
    picture_position,
    pixel_position,
)
from mask2former.model.queries import LearnableQueries, SampledQueries, ZeroQueries
from mask2former.model.swin import Swin
from mask2former.model.transformer_decoder import (
    MaskedTransformerDecoder,
    MaskHead,
    everywhere,
    inside_own_mask,
)


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
        mean=model.mean,
        std=model.std,
    )


def build_backbone(
    backbone: c.TimmBackbone | c.SwinBackbone, in_channels: int
) -> TimmBackbone | Swin:
    """Features at strides 4, 8, 16 and 32."""
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
            )


def build_pixel_decoder(
    decoder: c.MSDeformAttn | c.FPN, channels: dict[int, int], dim: int, *, position: Position
) -> nn.Module:
    """Mask features at stride 4 and the pyramid."""
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


def build_transformer_decoder(
    decoder: c.TransformerDecoder, dim: int, num_classes: int, mask_head: nn.Module
) -> MaskedTransformerDecoder:
    """The queries and what they go through."""
    position = {"2d": picture_position, "3d": clip_position, "pixels": pixel_position}[
        decoder.position
    ]
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
        attention=inside_own_mask if decoder.attention == "masked" else everywhere,
    )


def build_criterion(loss: c.Loss) -> Criterion:
    """Matching and supervision."""
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
        sampler=supervise[loss.supervise_on](),
        mask_loss=masks,
        supervise_queries=loss.supervise_queries,
    )


def build_splits(data: c.Data, task: c.Task) -> tuple[Dataset, Dataset]:
    """The training and the validation set, as the folds and limits of the settings leave them."""
    train = build_dataset(data, data.train, task)
    val = train
    if data.fold is None:
        val = build_dataset(data, data.val, task, categories=train.categories)
    return _choose(train, data, "train"), _choose(val, data, "val")


def build_split(data: c.Data, split: c.SplitName, task: c.Task, categories: Categories) -> Dataset:
    """One split alone, with the labels of a trained model."""
    source = data.train if split == "train" or data.fold is not None else data.val
    return _choose(build_dataset(data, source, task, categories=categories), data, split)


def _choose(dataset: Dataset, data: c.Data, split: c.SplitName) -> Dataset:
    """The pictures that the fold gives to a split, and of these the first."""
    chosen: Sequence[int] = range(len(dataset))
    if data.fold is not None:
        position, count = data.fold
        chosen = [i for i in chosen if (i % count == position) == (split == "val")]
    return dataset.select(chosen[: data.first])


def build_dataset(
    data: c.Data, split: c.Split, task: c.Task, *, categories: Categories | None = None
) -> Dataset:
    """Open all of one source. `categories` gives the labels, by name (a trained model's)."""
    match data.format:
        case None:
            known = ", ".join(get_args(c.Format))
            raise ValueError(f"data.format is not set; it is one of {known}")
        case "shapes":
            frames = 1 if data.clip is None else data.clip.frames
            return Shapes(200, task=task, frames=frames, categories=categories)
        case _:
            return _open_files(data, split, task, categories)


def _open_files(
    data: c.Data, split: c.Split, task: c.Task, categories: Categories | None
) -> Dataset:
    """Open the pictures and annotations of a split by the reader of their format."""
    if split.images is None or split.annotations is None:
        raise ValueError(
            "data.train.images and data.train.annotations (and the same of data.val) must be set"
        )
    root = data.root or Path()
    images, annotations = root / split.images, root / split.annotations
    match data.format:
        case "coco":
            return CocoInstances(images, annotations, categories=categories)
        case "coco_panoptic":
            labels = None if split.labels is None else root / split.labels
            return CocoPanoptic(images, annotations, labels, categories=categories)
        case "cityscapes":
            known = read_classes(data.classes or _own_list(task, categories), root, categories)
            return Cityscapes(images, annotations, known, task=task)
        case "label_maps":
            known = read_classes(data.classes, root, categories)
            return LabelMaps(
                images,
                annotations,
                known,
                ignore=data.ignore,
                offset=data.offset,
                endings=data.endings,
            )
        case "youtube_vis":
            clip = data.clip or c.Clip()
            return YouTubeVIS(
                images,
                annotations,
                frames=clip.frames,
                reach=clip.reach,
                categories=categories,
            )
    raise AssertionError(data.format)


def _own_list(task: c.Task, wanted: Categories | None) -> str:
    """Cityscapes' list with the classes of a trained model, or else that of the task."""
    for name in ("cityscapes_panoptic", "cityscapes_instance"):
        if wanted is not None and set(wanted.names) == set(Categories.bundled(name).names):
            return name
    return f"cityscapes_{task}"


def read_classes(
    classes: Path | str | None, root: Path, wanted: Categories | None = None
) -> Categories:
    """A class list: a JSON file below `root` with the key `classes`, or a bundled name.

    `wanted` gives the order of the labels, and the classes themselves where no list is set.
    """
    if classes is None:
        if wanted is not None:
            return wanted
        raise ValueError("label maps need data.classes: a JSON file of classes, or a bundled name")
    path = root / classes
    found = _read_class_file(path) if path.suffix == ".json" else Categories.bundled(str(classes))
    return found if wanted is None else found.in_order_of(wanted)


def _read_class_file(path: Path) -> Categories:
    entries = read_json(path).get("classes")
    if not isinstance(entries, list):
        raise ValueError(
            f'{path}: no list "classes"; write {{"classes": [{{"id": 0, "name": ...}}]}}'
        )
    try:
        return Categories.from_json(entries)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def build_augmentation(augmentation: c.Augmentation) -> Transform:
    """Sample -> sample."""
    match augmentation:
        case c.LargeScaleJitter():
            return large_scale_jitter(augmentation.size, augmentation.scale, augmentation.flips)
        case c.ResizeAndCrop():
            return resize_and_crop(
                augmentation.short_edges,
                augmentation.max_size,
                augmentation.crop,
                color=[ColorJitterSSD()] if augmentation.color else [],
                flips=augmentation.flips,
            )
        case c.Fit():
            return resize_only(augmentation.size)
