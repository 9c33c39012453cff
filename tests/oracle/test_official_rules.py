"""From a picture to a result by the official rules, written out with loops over single masks.

The rules are those of model_facts 3.4 and 5.3: rounding of sizes, padding, the order of crop and
resize, thresholds. A pixel may differ only where the rule's decision hangs on rounding errors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mask2former.build import build_model
from mask2former.categories import Categories, Category
from mask2former.checkpoint import ModelCard
from mask2former.config import Task, override_config, parse_config
from mask2former.engine.predict import Predictor
from mask2former.postprocess.semantic import resize_masks, resize_scores
from mask2former.structures import Instances, Panoptic, Prediction, SemanticMap, Sizes

pytestmark = pytest.mark.oracle

CASES = 200
NEAR = 2e-5
"""Two numbers that are closer may be ordered either way."""
IS_THING = (True, True, False, False, True, False, True)
CLASSES = len(IS_THING)


class Case(NamedTuple):
    """A picture's sizes and what a network would say of it."""

    sizes: Sizes
    classes: Tensor  # (Q, K + 1) logits
    masks: Tensor  # (Q, h, w) logits at a quarter of the padded input
    prediction: Prediction


def round_size(height: int, width: int, short_edge: int, max_size: int) -> tuple[int, int]:
    """detectron2's: the short edge first, then the long one if that is too much; x + 0.5 cut."""
    scale = short_edge / min(height, width)
    new_height, new_width = height * scale, width * scale
    longest = max(new_height, new_width)
    if longest > max_size:
        new_height, new_width = new_height * max_size / longest, new_width * max_size / longest
    return math.floor(new_height + 0.5), math.floor(new_width + 0.5)


def make_case(seed: int, queries: int = 12, channels: int = 6) -> Case:
    """Smooth random masks over a picture of a random size."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=random))

    original = (draw(17, 90), draw(17, 90))
    network = round_size(*original, draw(20, 60), draw(60, 100))
    padded = [math.ceil(side / 32) * 32 for side in network]
    seeds = torch.randn(1, channels, 4, 5, generator=random)
    features = F.interpolate(seeds, (padded[0] // 4, padded[1] // 4), mode="bicubic")
    embeddings = 3 * torch.randn(1, queries, channels, generator=random)
    classes = 3 * torch.randn(1, queries, CLASSES + 1, generator=random)
    prediction = Prediction(classes, embeddings, features[:, None])
    masks = torch.stack([(e[:, None, None] * features[0]).sum(0) for e in embeddings[0]])
    return Case(Sizes(network, original), classes[0], masks, prediction)


def enlarge(mask: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(
        mask[None, None], size=(height, width), mode="bilinear", align_corners=False
    )[0, 0]


def to_padded(case: Case, mask: Tensor) -> Tensor:
    return enlarge(mask, 4 * mask.shape[0], 4 * mask.shape[1])


def to_original(case: Case, padded: Tensor) -> Tensor:
    height, width = case.sizes.network
    return enlarge(padded[:height, :width], *case.sizes.original)


def softmax(logits: Tensor) -> list[list[float]]:
    return logits.double().softmax(-1).tolist()


def official_scores(case: Case, *, resize_first: bool) -> np.ndarray:
    """S_c = sum over q of class x mask probability (K, H, W), at the original size."""
    total = [0.0] * CLASSES
    for probabilities, mask in zip(softmax(case.classes), case.masks, strict=True):
        pixels = to_padded(case, mask)
        pixels = (to_original(case, pixels) if resize_first else pixels).double().sigmoid()
        for label in range(CLASSES):
            total[label] = total[label] + probabilities[label] * pixels
    scores = total if resize_first else [to_original(case, score) for score in total]
    return np.stack([score.numpy() for score in scores])


def official_panoptic(case: Case, threshold: float, overlap: float):
    """The map, its segments (label, score), and which pixels hang on rounding errors."""
    height, width = case.sizes.original
    kept = []
    for probabilities, mask in zip(softmax(case.classes), case.masks, strict=True):
        score = max(probabilities)
        label = probabilities.index(score)
        if label != CLASSES and score > threshold:
            pixels = to_original(case, to_padded(case, mask)).double().sigmoid().numpy()
            kept.append((score, label, pixels))
    ids, segments, stuff = np.zeros((height, width), int), [], {}
    if not kept:
        return ids, segments, np.zeros((height, width), bool)
    weighted = np.stack([score * pixels for score, _, pixels in kept])
    owner = weighted.argmax(0)
    gaps = np.sort(weighted, 0)
    unsure = gaps[-1] - gaps[-2] < NEAR if len(kept) > 1 else np.zeros((height, width), bool)
    for place, (score, label, pixels) in enumerate(kept):
        unsure = unsure | ((owner == place) & (abs(pixels - 0.5) < NEAR))
        own, assigned = pixels >= 0.5, owner == place
        final = own & assigned
        if not own.any() or not assigned.any() or not final.any():
            continue
        if assigned.sum() / own.sum() < overlap:
            continue
        if not IS_THING[label] and label in stuff:
            ids[final] = stuff[label]
            continue
        segments.append((label, score))
        stuff.setdefault(label, len(segments))
        ids[final] = len(segments)
    return ids, segments, unsure


def official_instances(case: Case, top: int) -> list[tuple[float, int, np.ndarray]]:
    """(score, label, mask probability) of the best pairs over Q x K that are things."""
    pairs = [
        (probability, query, label)
        for query, probabilities in enumerate(softmax(case.classes))
        for label, probability in enumerate(probabilities[:CLASSES])
    ]
    found = []
    for probability, query, label in sorted(pairs, reverse=True)[:top]:
        if IS_THING[label]:
            logits = to_original(case, to_padded(case, case.masks[query])).double()
            inside = logits > 0
            quality = logits.sigmoid()[inside].sum() / (inside.sum() + 1e-6)
            found.append((probability * float(quality), label, logits.numpy()))
    return sorted(found, key=lambda instance: -instance[0])


class Answers(Predictor):
    """A predictor whose network says what the case says."""

    def __init__(self, case: Case, task: Task, test: dict) -> None:
        config = parse_config({"test": {"task": task, **test}}, "the test")
        categories = [
            Category(label, str(label), (0, 0, 0), is_thing)
            for label, is_thing in enumerate(IS_THING)
        ]
        self.card = ModelCard(config, Categories(categories))
        self.is_thing = torch.tensor(IS_THING)
        self.score = resize_scores if task == "semantic" else resize_masks
        self._case = case

    def infer(self, image: np.ndarray) -> tuple[Prediction, Sizes]:
        assert image.shape[:2] == self._case.sizes.original
        return self._case.prediction, self._case.sizes


def answer(case: Case, task: Task, model_task: Task, **test: float):
    picture = np.zeros((*case.sizes.original, 3), np.uint8)
    return Answers(case, model_task, test).segment(picture, task)


def assert_labels_follow(scores: np.ndarray, labels: np.ndarray) -> None:
    """Every pixel has the class with the best score, or one that is as good as that."""
    chosen = np.take_along_axis(scores, labels[None].astype(int), 0)[0]
    assert (scores.max(0) - chosen < NEAR).all()


@pytest.mark.parametrize("model_task", ["semantic", "panoptic"])
def test_semantic_maps_follow_the_official_rules(model_task: Task) -> None:
    for seed in range(CASES):
        case = make_case(seed)
        result = answer(case, "semantic", model_task)
        assert isinstance(result, SemanticMap)
        scores = official_scores(case, resize_first=model_task != "semantic")
        assert_labels_follow(scores, result.labels[0])


def test_panoptic_maps_follow_the_official_rules() -> None:
    kinds, left_out = set(), []
    for seed in range(CASES):
        case = make_case(seed)
        threshold, overlap = ((0.8, 0.8), (0.0, 0.8), (0.5, 0.3))[seed % 3]
        result = answer(
            case, "panoptic", "panoptic", threshold=threshold, overlap_threshold=overlap
        )
        assert isinstance(result, Panoptic)
        ids, segments, unsure = official_panoptic(case, threshold, overlap)
        np.testing.assert_array_equal(result.ids[0][~unsure], ids[~unsure])
        left_out.append(unsure.mean())
        assert [segment.label for segment in result.segments] == [label for label, _ in segments]
        for position, segment in enumerate(result.segments, start=1):
            assert segment.id == position
            assert segment.is_thing == IS_THING[segment.label]
            assert segment.score == pytest.approx(segments[position - 1][1], abs=1e-5)
            assert segment.area == (result.ids == position).sum()
        kinds.add(min(len(segments), 3))
    assert kinds == {0, 1, 2, 3}
    assert np.mean(left_out) < 0.002


def test_instances_follow_the_official_rules() -> None:
    for seed in range(CASES):
        case = make_case(seed)
        top = (10, 40, 100)[seed % 3]  # of 84 pairs
        result = answer(case, "instance", "panoptic", max_detections=top)
        assert isinstance(result, Instances)
        expected = official_instances(case, top)
        np.testing.assert_allclose(result.scores, [score for score, _, _ in expected], atol=1e-5)
        scores = [score for score, _, _ in expected]
        for place, (score, label, logits) in enumerate(expected):
            if sum(abs(other - score) < NEAR for other in scores) > 1:
                continue  # of equal scores either may come first
            assert result.labels[place] == label
            sure = abs(logits) > 1e-4
            np.testing.assert_array_equal(result.masks[place, 0][sure], (logits > 0)[sure])


TINY = {
    "model": {
        "dim": 32,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32},
        "transformer_decoder": {"layers": 2, "heads": 4, "feedforward": 32, "num_queries": 12},
    },
    "test": {"task": "semantic", "short_edge": 50, "max_size": 85},
}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A network with random weights whose classes and masks spread."""
    torch.manual_seed(0)
    config = parse_config(TINY, "the test")
    categories = Categories(
        Category(label, str(label), (0, 0, 0), is_thing) for label, is_thing in enumerate(IS_THING)
    )
    model = build_model(config.model, CLASSES)
    model.transformer_decoder.class_head.weight.data *= 5
    return Predictor(model, ModelCard(config, categories), torch.device("cpu"))


@torch.inference_mode()
def official_case(predictor: Predictor, picture: np.ndarray, *, short: int, longest: int) -> Case:
    """Resize by PIL, normalise, pad with zeros, and ask the network's parts."""
    model, original = predictor.model, picture.shape[:2]
    height, width = round_size(*original, short, longest)
    pixels = np.array(Image.fromarray(picture).resize((width, height), Image.BILINEAR), float)
    pixels = (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    padded = np.zeros((3, math.ceil(height / 32) * 32, math.ceil(width / 32) * 32), np.float32)
    padded[:, :height, :width] = pixels.transpose(2, 0, 1)
    mean, std = model.mean.clone(), model.std.clone()
    prediction = model(torch.from_numpy(padded)[None] * std + mean)[-1]
    masks = prediction.mask_logits()[0, :, 0]
    return Case(Sizes((height, width), original), prediction.class_logits[0], masks, prediction)


PICTURES = [
    np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    for size in [(48, 64), (37, 91), (120, 33), (201, 133), (5, 7), (33, 33)]
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: str(picture.shape[:2]))
def test_whole_path_follows_the_official_one(picture: np.ndarray, predictor: Predictor) -> None:
    case = official_case(predictor, picture, short=50, longest=85)
    labels = predictor.segment(picture, "semantic")
    assert isinstance(labels, SemanticMap)
    assert_labels_follow(official_scores(case, resize_first=False), labels.labels[0])
    found = predictor.segment(picture, "instance")
    assert isinstance(found, Instances)
    expected = [score for score, _, _ in official_instances(case, 100)]
    np.testing.assert_allclose(found.scores, expected, atol=NEAR)


@pytest.mark.parametrize("picture", PICTURES[:4], ids=lambda picture: str(picture.shape[:2]))
def test_mean_of_views_follows_the_official_one(picture: np.ndarray, predictor: Predictor) -> None:
    """Each view is the picture at test size, resized again, then flipped; scores flip back."""
    config = override_config(predictor.card.config, ["test.tta={}"])
    augmented = Predictor(
        predictor.model, ModelCard(config, predictor.categories), torch.device("cpu")
    )
    usual = np.array(
        Image.fromarray(picture).resize(
            round_size(*picture.shape[:2], 50, 85)[::-1], Image.Resampling.BILINEAR
        )
    )
    views = []
    for short in (25, 38, 50, 63, 75, 88):  # 50 x 0.5, 0.75, 1, 1.25, 1.5, 1.75
        size = round_size(*usual.shape[:2], short, round(1.75 * 85))
        resized = np.array(Image.fromarray(usual).resize(size[::-1], Image.Resampling.BILINEAR))
        for shown in (resized, resized[:, ::-1]):
            case = official_case(predictor, shown, short=min(size), longest=10_000)
            case = case._replace(sizes=Sizes(size, picture.shape[:2]))
            scores = official_scores(case, resize_first=False)
            views.append(scores if shown is resized else scores[:, :, ::-1])
    result = augmented.segment(picture, "semantic")
    assert isinstance(result, SemanticMap)
    assert_labels_follow(np.mean(views, axis=0), result.labels[0])
