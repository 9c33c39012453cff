"""Networks of published size say the same in transformers, and so do real weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_model
from mask2former.config import load_config, override_config
from mask2former.convert.hub_folder import save_hub_folder
from mask2former.masks import resize
from mask2former.model.mask2former import Mask2Former

pytestmark = pytest.mark.oracle

TRAINABLE = "model.backbone.norm=trainable"
QUERIES = "model.transformer_decoder.num_queries"
SIZE = (128, 224)  # strided maps of 32 x 56 to 4 x 7: no multiples of the windows of 7 and 12
LEVELS = [(SIZE[0] // stride, SIZE[1] // stride) for stride in (32, 16, 8)]
NETWORKS = {
    "r50": ("r50", []),
    "r50 SyncBN": ("r50", [TRAINABLE]),
    "r50 of 200 queries": ("r50", [f"{QUERIES}=200"]),
    "r101": ("r101", []),
    "r101 SyncBN": ("r101", [TRAINABLE]),
    "swin_t": ("swin_t", []),
    "swin_s": ("swin_s", []),
    "swin_b": ("swin_b", []),
    "swin_l of 100 queries": ("swin_l", [f"{QUERIES}=100"]),
    "swin_l of 200 queries": ("swin_l", [f"{QUERIES}=200"]),
}
QUICK = {"r50", "swin_t"}


def randomise(model: nn.Module) -> None:
    """Move every parameter and statistic off its initial value."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.1 * torch.rand(buffer.shape)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest, relative to the largest value (at least 1)."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()


def inside(logits: Tensor, layer: int) -> Tensor:
    """The attention bits that a prediction gives the next layer."""
    return resize(logits, LEVELS[layer % 3]).sigmoid() >= 0.5


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS],
)
@torch.no_grad()
def test_published_networks_say_the_same(name, tmp_path, record_property):
    recipe, settings = NETWORKS[name]
    config = override_config(load_config(f"coco/panoptic/{recipe}"), settings)
    ours = build_model(config.model, 133).eval()
    randomise(ours)
    card = ModelCard(config, Categories.bundled("coco_panoptic"))
    save_hub_folder(tmp_path, ours.state_dict(), card)
    theirs, report = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(
        tmp_path, output_loading_info=True, output_auxiliary_logits=True
    )
    assert not any(report.values()), report
    figures = compare(ours, theirs.eval(), torch.rand(1, 3, *SIZE) * 255)
    for figure, value in figures.items():
        record_property(figure, value)
        print(f"{name}: {figure} {value:.2g}")
    assert figures["backbone"] < 1e-5
    assert figures["mask features"] < 1e-5
    assert figures["prediction 0"] < 1e-5
    assert figures["predictions before a flipped bit"] < 1e-4
    assert figures["share of flipped bits"] < 1e-5
    assert 0.01 < figures["share of bits inside"] < 0.99


def compare(ours: Mask2Former, theirs, images: Tensor) -> dict[str, float]:
    """The largest differences of each part, and of the predictions until a bit flips."""
    normed = (images - ours.mean) / ours.std
    pixels = theirs.model.pixel_level_module(normed, output_hidden_states=True)
    maps = ours.backbone(normed)
    final = theirs(normed)
    truths = [*final.auxiliary_logits, final]
    predictions = ours(images)
    flipped, within, bits, differences = 0, 0, 0, []
    for layer, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        logits, true_logits = prediction.mask_logits()[:, :, 0], truth["masks_queries_logits"]
        if flipped == 0:
            classes = difference(prediction.class_logits, truth["class_queries_logits"])
            differences.append(max(classes, difference(logits, true_logits)))
        truly = inside(true_logits, layer)
        flipped += int((inside(logits, layer) != truly).sum())
        within += int(truly.sum())
        bits += truly.numel()
    return {
        "backbone": max(map(difference, maps.values(), pixels.encoder_hidden_states)),
        "mask features": difference(
            predictions[0].mask_features[:, 0], pixels.decoder_last_hidden_state
        ),
        "prediction 0": differences[0],
        "predictions before a flipped bit": max(differences),
        "predictions compared": len(differences),
        "share of flipped bits": flipped / bits,
        "share of bits inside": within / bits,
    }


HUB_CACHE = Path(os.environ.get("HF_HUB_CACHE", Path.home() / ".cache/huggingface/hub"))
REAL = "facebook/mask2former-swin-small-coco-instance"
FIGURES = {  # published in transformers' own test; its picture is squashed to 384 x 384
    "class logits": [[1.8324, -8.0835, -4.1922], [0.8450, -9.0050, -3.6053]],
    "mask logits": [[-8.7839, -9.0056, -8.8121], [-7.4104, -7.0313, -6.5401]],
    "backbone": [[-0.2790, -1.0717, -1.1668], [-0.5128, -0.3128, -0.4987]],
    "mask features": [[0.8973, 1.1847, 1.1776], [1.1934, 1.5040, 1.5128]],
}


@torch.no_grad()
def test_real_weights_give_the_published_figures(shared_data):
    snapshots = HUB_CACHE / f"models--{REAL.replace('/', '--')}" / "snapshots"
    folder = next((f for f in snapshots.glob("*") if any(f.glob("*model*"))), None)
    if folder is None:
        pytest.skip(f"{REAL} is not in {HUB_CACHE}; `mask2former models` tells how to fetch it")
    model, card = load_model(folder)
    with Image.open(shared_data / "photos/coco/000000039769.png") as picture:
        squashed = picture.convert("RGB").resize((384, 384), Image.Resampling.BILINEAR)
    images = torch.from_numpy(np.array(squashed)).permute(2, 0, 1)[None].float()
    prediction = model(images)[-1]
    found = {
        "class logits": prediction.class_logits[0],
        "mask logits": prediction.mask_logits()[0, 0, 0],
        "backbone": model.backbone((images - model.mean) / model.std)[32][0, 0],
        "mask features": prediction.mask_features[0, 0, 0],
    }
    assert card.config.test.task == "instance"
    for name, values in FIGURES.items():
        torch.testing.assert_close(found[name][:2, :3], torch.tensor(values), atol=2e-3, rtol=2e-3)
