"""From a picture of 800 x 1333 to its panoptic map: ours against transformers with its processor.

Both keep the same queries. transformers stretches the picture to multiples of 32 where the paper
pads it, and resizes masks through 384 x 384; so the networks are compared on one tensor, and our
map with the official rule, written out here query by query.
"""

from __future__ import annotations

from statistics import median

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Mask2FormerImageProcessor

from mask2former.benchmark import at_size, sample_picture
from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard
from mask2former.config import load_config
from mask2former.engine.predict import Predictor
from mask2former.machine import alternate
from mask2former.structures import Panoptic, Prediction, Sizes
from measure import CLASSES, RECIPES, Row, at_least, build_ours, build_theirs, demand_equal, run

KEPT = 20
"""Queries that are sure enough to be seen: a busy photograph has about so many."""
OVERLAP = 0.8


def collect(quick: bool) -> list[Row]:
    """One thread."""
    torch.set_num_threads(1)
    size = (160, 213) if quick else (800, 1333)
    picture, theirs = sample_picture(size), build_theirs("R50")
    predictor = build_predictor(theirs, size)
    check_logits(predictor, theirs)
    prediction, sizes = predictor.infer(picture)
    threshold = threshold_for(prediction)
    ours = predictor.segment(picture, "panoptic", threshold)
    assert isinstance(ours, Panoptic)
    same = (ours.ids[0] == brute_force(prediction, sizes, threshold, predictor)).mean()
    if same < 0.9999:
        raise AssertionError(f"only {same:.3%} of our pixels are those of the official rule")
    processor = Mask2FormerImageProcessor(
        size={"shortest_edge": min(size), "longest_edge": max(size)}
    )
    stuff = {label for label in range(CLASSES) if not predictor.is_thing[label]}

    def ask_theirs() -> object:
        output = theirs(**processor(picture, return_tensors="pt"))
        return processor.post_process_panoptic_segmentation(
            output, threshold, target_sizes=[size], label_ids_to_fuse=stuff
        )

    calls = {"ours": lambda: predictor(picture, "panoptic", threshold), "theirs": ask_theirs}
    with torch.inference_mode():
        seconds = {k: median(s) for k, s in alternate(calls, 1 if quick else 7).items()}
    equality = f"logits on one tensor; {same:.3%} of pixels as the rule by brute force"
    what = f"picture {size[0]}x{size[1]} to panoptic result, R50, 1 thread"
    return [at_least(what, seconds["ours"], seconds["theirs"], 2.0, equality)]


def build_predictor(theirs: torch.nn.Module, size: tuple[int, int]) -> Predictor:
    """Ours with their weights, and with the normalisation of the picture."""
    network, config = build_ours("R50", theirs), load_config(RECIPES["R50"])
    network.mean.copy_(torch.tensor(config.model.mean).view(-1, 1, 1))
    network.std.copy_(torch.tensor(config.model.std).view(-1, 1, 1))
    card = ModelCard(config, Categories.bundled("coco_panoptic"))
    return at_size(Predictor(network, card, torch.device("cpu")), size)


@torch.inference_mode()
def check_logits(predictor: Predictor, theirs: torch.nn.Module) -> None:
    """Show both networks one tensor."""
    images = torch.randint(0, 256, (1, 3, 256, 256)).float()
    prediction = predictor.model(images)[-1]
    expected = theirs((images - predictor.model.mean) / predictor.model.std)
    masks = prediction.mask_logits().squeeze(2)
    demand_equal(prediction.class_logits, expected.class_queries_logits, 1e-3, "class logits")
    demand_equal(masks, expected.masks_queries_logits, 1e-3, "mask logits")


def threshold_for(prediction: Prediction) -> float:
    """The class score that `KEPT` queries exceed: random weights are sure of nothing."""
    scores, labels = prediction.class_logits[0].softmax(-1).max(-1)
    best = scores[labels != CLASSES].sort(descending=True).values
    place = min(KEPT, best.shape[0] - 1)
    return float((best[place - 1] + best[place]) / 2)


def brute_force(
    prediction: Prediction, sizes: Sizes, threshold: float, predictor: Predictor
) -> np.ndarray:
    """The official rule (MaskFormer, section 3.4), with whole masks at the picture's size."""
    scores, labels = prediction.class_logits[0].softmax(-1).max(-1)
    keep = ((labels != CLASSES) & (scores > threshold)).nonzero()[:, 0].tolist()
    logits = prediction.mask_logits()[:, :, 0][:, keep]
    height, width = sizes.network
    padded = [4 * side for side in logits.shape[-2:]]
    logits = F.interpolate(logits, padded, mode="bilinear")[..., :height, :width]
    masks = F.interpolate(logits, sizes.original, mode="bilinear")[0].sigmoid()
    owner = (scores[keep, None, None] * masks).argmax(0)
    ids, count, stuff = np.zeros(sizes.original, np.int32), 0, {}
    for place, query in enumerate(keep):
        own, mine = masks[place] >= 0.5, owner == place
        final = own & mine
        if not final.any() or mine.sum().double() / own.sum() < OVERLAP:
            continue
        label = int(labels[query])
        if predictor.is_thing[label] or label not in stuff:
            count += 1
            stuff[label] = count
        ids[final.numpy()] = count if predictor.is_thing[label] else stuff[label]
    return ids


if __name__ == "__main__":
    run("predict", collect)
