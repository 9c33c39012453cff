"""Networks that learn the same pictures: ours, transformers', and what was usual before them.

All begin with the same ImageNet features of EfficientNet-Lite0, take the same batches and AdamW,
and hand over a predictor, which `mask2former.engine.evaluate` measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import transformers
from accelerate import Accelerator  # noqa: TID251
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, masks_to_boxes

from mask2former.build import build_criterion, build_model
from mask2former.card import ModelCard
from mask2former.categories import Categories, Task
from mask2former.config import Config
from mask2former.data.transforms import shorten
from mask2former.engine.learner import Learner
from mask2former.engine.predict import Predictor, resize
from mask2former.engine.processes import Team
from mask2former.engine.start import initialise_backbone
from mask2former.model.backbone import TimmBackbone, load_lite_package
from mask2former.structures import Batch, Instances, Prediction, Result, SemanticMap

VOID = 255
CPU = torch.device("cpu")


class Contender(Protocol):
    """What learns batch by batch."""

    def learn(self, batch: Batch, step: int, rate: float) -> float:
        """Take a step with `rate` times the settings' learning rate; the loss."""
        ...

    def predictor(self) -> Predictor:
        """What has been learnt, ready to be measured."""
        ...


class Ours:
    """The package as `mask2former train` runs it."""

    def __init__(self, config: Config, categories: Categories) -> None:
        self.card = ModelCard(config, categories)
        network = build_model(config.model, len(categories))
        initialise_backbone(network, config.model.backbone, print)
        criterion = build_criterion(config.loss, categories)
        accelerator = Accelerator(cpu=True)
        self.learner = Learner(network, criterion, config.train, accelerator, Team(0, 1))

    def learn(self, batch: Batch, step: int, rate: float) -> float:
        self.learner.rate_factor = lambda _: rate
        terms = self.learner.learn(batch, step)
        return sum(float(term) for name, term in terms.items() if name != "gradient_norm")

    def predictor(self) -> Predictor:
        network = build_model(self.card.config.model, len(self.card.categories))
        network.load_state_dict(self.learner.weights())
        return Predictor(network, self.card, CPU)


class Usual(ABC):
    """A network in a plain loop: AdamW, a slower backbone, gradients clipped."""

    clip = 1.0

    def __init__(
        self, config: Config, categories: Categories, network: nn.Module, backbone: nn.Module
    ) -> None:
        self.card = ModelCard(config, categories)
        self.network = network
        slow = {id(parameter) for parameter in backbone.parameters()}
        train = config.train
        groups: list[list[nn.Parameter]] = [[], []]
        for parameter in network.parameters():
            if parameter.requires_grad:
                groups[id(parameter) in slow].append(parameter)
        self.rates = [train.learning_rate, train.learning_rate * train.backbone_factor]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups], weight_decay=train.weight_decay
        )
        self.mean, self.std = (
            torch.tensor(v).view(3, 1, 1) for v in (config.model.mean, config.model.std)
        )

    def learn(self, batch: Batch, step: int, rate: float) -> float:
        self.network.train()
        for module in self.frozen():
            module.eval()
        for group, own in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = own * rate
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def frozen(self) -> Iterable[nn.Module]:
        """What stays as in prediction while the rest learns."""
        return ()

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, with a graph behind it."""

    def normalise(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) uint8 as the backbone knows them."""
        return (images.float() - self.mean) / self.std

    def predictor(self) -> Predictor:
        self.network.eval()
        return Answering(self)

    def answer(self, image: np.ndarray) -> Result:
        """The result for a picture (H, W, 3), of those that make no predictions as ours."""
        raise AssertionError(f"{type(self).__name__} predicts, and is asked for results")


class Answering(Predictor):
    """Lets another network answer where a predictor is asked."""

    def __init__(self, contender: Usual) -> None:
        self.contender = contender
        self.card = contender.card
        self.device = CPU
        self.size = None
        self.is_thing = torch.tensor(self.card.categories.is_thing)
        self.model = contender.network

    @torch.inference_mode()
    def segment(self, image: np.ndarray, task: Task, threshold: float | None = None) -> Result:
        return self.contender.answer(image)


class Transformers(Usual):
    """transformers' network and loss, of the same size; post-processing and metric are ours."""

    clip = 0.01

    def __init__(self, config: Config, categories: Categories, queries: int) -> None:
        model = config.model
        decoder, pixel = model.transformer_decoder, model.pixel_decoder
        backbone = transformers.TimmBackboneConfig(
            backbone=model.backbone.name,
            features_only=True,
            out_indices=(1, 2, 3, 4),
            use_pretrained_backbone=False,
        )
        network = transformers.Mask2FormerForUniversalSegmentation(
            transformers.Mask2FormerConfig(
                backbone_config=backbone,
                num_labels=len(categories),
                feature_size=model.dim,
                mask_feature_size=model.dim,
                hidden_dim=model.dim,
                encoder_feedforward_dim=pixel.feedforward,
                encoder_layers=pixel.layers,
                dim_feedforward=decoder.feedforward,
                decoder_layers=decoder.layers + 1,  # it counts the first prediction too
                num_queries=queries,
                train_num_points=config.loss.num_points,
            )
        )
        body = network.model.pixel_level_module.encoder._backbone
        load_features(body)
        self.norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in self.norms:
            norm.requires_grad_(requires_grad=False)
        super().__init__(config, categories, network, body)

    def frozen(self) -> Iterable[nn.Module]:
        return self.norms

    def loss(self, batch: Batch) -> Tensor:
        masks = [masks_of(target.ids, target.labels) for target in batch.targets]
        labels = [target.labels for target in batch.targets]
        pixels = self.normalise(batch.images[:, 0])
        return self.network(pixels, mask_labels=masks, class_labels=labels).loss.sum()

    def predictor(self) -> Predictor:
        self.network.eval()
        return Looking(self)


class Looking(Answering):
    """Takes transformers' logits for a prediction: masks times one."""

    segment = Predictor.segment

    @torch.inference_mode()
    def look(self, image: np.ndarray, size: tuple[int, int], turn: object = None) -> Prediction:
        height, width = (-(-side // 32) * 32 for side in size)
        pixels = self.contender.normalise(
            torch.from_numpy(resize(image, size).copy()).permute(2, 0, 1)
        )
        padded = F.pad(pixels, (0, width - size[1], 0, height - size[0]))[None]
        said = self.model(padded)
        masks = said.masks_queries_logits
        return Prediction(
            said.class_queries_logits, torch.eye(masks.shape[1])[None], masks[:, None]
        )


class Dense(Usual):
    """A U-Net or DeepLabV3+ of segmentation_models.pytorch: cross-entropy and dice of classes."""

    def __init__(self, config: Config, categories: Categories, kind: type[nn.Module]) -> None:
        network = kind("tu-tf_efficientnet_lite0", encoder_weights=None, classes=len(categories))
        load_features(network.encoder.model)
        self.dice = smp.losses.DiceLoss("multiclass", ignore_index=VOID)
        super().__init__(config, categories, network, network.encoder)

    def loss(self, batch: Batch) -> Tensor:
        truth = torch.stack([class_map(t.ids, t.labels) for t in batch.targets])
        logits = self.network(self.normalise(batch.images[:, 0]))
        return F.cross_entropy(logits, truth, ignore_index=VOID) + self.dice(logits, truth)

    def answer(self, image: np.ndarray) -> Result:
        test, original = self.card.config.test, (image.shape[0], image.shape[1])
        size = shorten(original, test.short_edge, test.max_size)
        height, width = (-(-side // 32) * 32 for side in size)
        pixels = self.normalise(torch.from_numpy(resize(image, size).copy()).permute(2, 0, 1))
        logits = self.network(F.pad(pixels, (0, width - size[1], 0, height - size[0]))[None])
        logits = logits[..., : size[0], : size[1]]
        logits = F.interpolate(logits, original, mode="bilinear", align_corners=False)
        return SemanticMap(logits.argmax(1).numpy().astype(np.int16))


class MaskRcnn(Usual):
    """torchvision's Mask R-CNN on a feature pyramid of the same backbone."""

    def __init__(self, config: Config, categories: Categories) -> None:
        body = Pyramid(config.model.dim)
        test, crop = config.test, config.data.augmentation.crop
        network = MaskRCNN(
            body,
            num_classes=len(categories) + 1,
            min_size=min(crop),
            max_size=test.max_size,
            image_mean=[mean / 255 for mean in config.model.mean],
            image_std=[std / 255 for std in config.model.std],
            rpn_anchor_generator=AnchorGenerator(
                sizes=((8,), (16,), (32,), (64,)), aspect_ratios=((0.5, 1.0, 2.0),) * 4
            ),
            box_detections_per_img=test.max_detections,
        )
        super().__init__(config, categories, network, body.backbone)

    def loss(self, batch: Batch) -> Tensor:
        targets = []
        for target in batch.targets:
            masks = masks_of(target.ids, target.labels)
            boxes = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])
            targets.append({"boxes": boxes, "labels": target.labels + 1, "masks": masks.byte()})
        images = [image.float() / 255 for image in batch.images[:, 0]]
        return torch.stack(list(self.network(images, targets).values())).sum()

    def answer(self, image: np.ndarray) -> Result:
        self.network.transform.min_size = (self.card.config.test.short_edge,)
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
        found = self.network([pixels])[0]
        masks = (found["masks"] > 0.5).numpy()  # (N, 1, H, W)
        return Instances.of_masks(
            masks, found["labels"].numpy() - 1, found["scores"].numpy().astype(np.float32)
        )


class Pyramid(nn.Module):
    """Maps of one width at strides 4 to 32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.backbone = TimmBackbone("tf_efficientnet_lite0")
        load_lite_package(self.backbone, 0)
        channels = self.backbone.channels
        self.strides = sorted(channels)
        self.fpn = FeaturePyramidNetwork([channels[stride] for stride in self.strides], dim)
        self.out_channels = dim

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> maps by number, fine to coarse."""
        maps = self.backbone(images)
        return self.fpn({str(i): maps[stride] for i, stride in enumerate(self.strides)})


def load_features(body: nn.Module) -> None:
    """Give a timm feature extractor the ImageNet weights that ours begins with."""
    known = TimmBackbone("tf_efficientnet_lite0", norm="trainable")
    load_lite_package(known, 0)
    body.load_state_dict(known.body.state_dict())


def masks_of(ids: Tensor, labels: Tensor) -> Tensor:
    """The objects of (L, 1, H, W) ids as masks (N, H, W) of 0 and 1."""
    numbers = torch.arange(1, labels.shape[0] + 1)[:, None, None, None]
    return (ids[None, :, 0] == numbers).any(1).float()


def class_map(ids: Tensor, labels: Tensor) -> Tensor:
    """The class of every pixel, int64 (H, W)."""
    table = torch.cat([torch.tensor([VOID]), labels])
    return table[ids[0, 0].long()]


def names() -> Sequence[str]:
    """Those that can be asked for."""
    return ("ours", "transformers", "unet", "deeplabv3+", "mask-rcnn")


def build(name: str, config: Config, categories: Categories) -> Contender:
    """A contender that has learnt nothing yet."""
    match name:
        case "ours":
            return Ours(config, categories)
        case "transformers":
            many = config.test.task == "instance"
            return Transformers(config, categories, queries=200 if many else 100)
        case "unet":
            return Dense(config, categories, smp.Unet)
        case "deeplabv3+":
            return Dense(config, categories, smp.DeepLabV3Plus)
        case "mask-rcnn":
            return MaskRcnn(config, categories)
    raise SystemExit(f"no contender '{name}'; there are {', '.join(names())}")
