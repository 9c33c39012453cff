"""The set loss: the published sums, and what it must not depend on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mask2former import masks
from mask2former.build import build_model
from mask2former.config import parse_config
from mask2former.loss import matcher, sampling
from mask2former.loss.criterion import Criterion, Normalisers, make_generators
from mask2former.loss.mask_loss import focal
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import AllPixels, RandomPoints, UncertainPoints
from mask2former.structures import Prediction, Targets

CLASSES, DIM, QUERIES, HEIGHT, WIDTH = 3, 5, 6, 24, 32
LAYERS = 3  # predictions
CPU = torch.device("cpu")


def random_predictions(*, frames: int = 1, batch: int = 2) -> list[Prediction]:
    features = torch.randn(batch, frames, DIM, HEIGHT // 4, WIDTH // 4)
    classes = torch.randn(LAYERS, batch, QUERIES, CLASSES + 1)
    embeddings = torch.randn(LAYERS, batch, QUERIES, DIM)
    return [Prediction(c, e, features) for c, e in zip(classes, embeddings, strict=True)]


def random_target(objects: int, *, frames: int = 1) -> Targets:
    """Boxes in two layers that move from frame to frame."""
    ids = torch.zeros(2, frames, HEIGHT, WIDTH, dtype=torch.int32)
    for name in range(1, objects + 1):
        for frame in range(frames):
            top, left = int(torch.randint(HEIGHT // 2, ())), int(torch.randint(WIDTH // 2, ()))
            ids[name % 2, frame, top : top + 12, left : left + 12] = name
    return Targets(ids, torch.randint(CLASSES, (objects,)))


def small_criterion(**changes) -> Criterion:
    """A criterion with few points."""
    matcher = Matcher(sampler=RandomPoints(60))
    return replace(Criterion(matcher, sampler=UncertainPoints(60)), **changes)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], factor: float = 1.0) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, factor * theirs[name], rtol=1e-5, atol=1e-5, msg=name)


@dataclass
class RecordedPoints:
    """Draws points for each mask anew and remembers which mask got which."""

    count: int = 25
    masks: list[Tensor] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)

    def __call__(
        self, logits: Tensor, size: tuple[int, int], generator: Generator | None
    ) -> Tensor:
        drawn = torch.rand(logits.shape[0], self.count, 2)
        self.masks += list(logits.detach())
        self.points += list(drawn)
        return drawn

    def of(self, mask: Tensor) -> Tensor:
        distance = torch.stack([(mask - other).abs().max() for other in self.masks])
        assert distance.min() < 1e-5
        return self.points[int(distance.argmin())]


def naive_terms(
    predictions: list[Prediction], targets: list[Targets], matcher: Matcher, drawn: RecordedPoints
) -> dict[str, Tensor]:
    """The sums of the official code, one picture, pair and frame at a time."""
    matches = matcher(predictions, targets, [None] * len(targets))
    total = max(1, sum(target.labels.shape[0] for target in targets))
    terms = {}
    for layer, prediction in enumerate(predictions):
        wanted = torch.full(prediction.class_logits.shape[:2], CLASSES)
        mask_loss = dice_loss = torch.tensor(0.0)
        for picture, target in enumerate(targets):
            for query, name in zip(*matches[layer][picture], strict=True):
                wanted[picture, query] = target.labels[name]
                for frame, mask in enumerate(prediction.mask_logits()[picture, query]):
                    truth = (target.ids[:, frame] == name + 1).any(0).float()
                    grid = (2 * drawn.of(mask) - 1)[None, None]
                    x, t = (
                        F.grid_sample(m[None, None], grid, align_corners=False).flatten()
                        for m in (mask, truth)
                    )
                    mask_loss = mask_loss + F.binary_cross_entropy_with_logits(x, t)
                    p = x.sigmoid()
                    dice_loss = dice_loss + 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        weight = torch.tensor([1.0] * CLASSES + [0.1])
        ce = F.cross_entropy(prediction.class_logits.transpose(1, 2), wanted, weight)
        suffix = f"_{layer}" if layer < len(predictions) - 1 else ""
        terms[f"loss_ce{suffix}"] = 2 * ce
        terms[f"loss_mask{suffix}"] = 5 * mask_loss / total
        terms[f"loss_dice{suffix}"] = 5 * dice_loss / total
    return terms


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("objects", [(3, 2), (0, 1), (8, 1), (0, 0)])
def test_terms_are_the_published_sums(frames, objects):
    """Also for more objects than queries; every frame of a clip adds a mask, not a divisor."""
    predictions = random_predictions(frames=frames)
    targets = [random_target(count, frames=frames) for count in objects]
    points = RecordedPoints()
    criterion = Criterion(Matcher(sampler=AllPixels()), sampler=points)
    found = criterion(predictions, targets)
    if max(objects) <= QUERIES:
        assert len(points.points) == sum(objects) * frames * LAYERS
    assert_same(found, naive_terms(predictions, targets, criterion.matcher, points))


def test_all_pixels_compare_the_upsampled_masks():
    predictions, target = random_predictions(batch=1), random_target(2)
    criterion = small_criterion(sampler=AllPixels(), matcher=Matcher(sampler=AllPixels()))
    found = criterion(predictions, [target])
    pairs = criterion.matcher(predictions, [target], [None])[-1][0]
    masks = predictions[-1].mask_logits()[:, pairs.queries, 0]
    # Zero outside instead of the border's own value: only the outermost ring of pixels differs.
    padded = F.pad(masks, (1, 1, 1, 1))
    big = F.interpolate(padded, scale_factor=4, mode="bilinear")[0, :, 4:-4, 4:-4]
    truth = torch.stack([(target.ids == name + 1).any(0)[0] for name in pairs.objects]).float()
    expected = F.binary_cross_entropy_with_logits(big, truth, reduction="none").mean((1, 2)).sum()
    torch.testing.assert_close(found["loss_mask"], 5 * expected / 2)


def test_terms_are_named_by_prediction_with_the_last_one_bare():
    terms = small_criterion()(random_predictions(), [random_target(2), random_target(1)])
    kinds = ("loss_ce", "loss_mask", "loss_dice")
    assert set(terms) == {f"{kind}{suffix}" for kind in kinds for suffix in ("_0", "_1", "")}


def test_queries_can_be_left_unsupervised():
    predictions, targets = random_predictions(), [random_target(2), random_target(1)]
    criterion = small_criterion(sampler=AllPixels(), matcher=Matcher(sampler=AllPixels()))
    everything = criterion(predictions, targets)
    rest = replace(criterion, supervise_queries=False)(predictions, targets)
    assert_same(rest, {name: term for name, term in everything.items() if not name.endswith("_0")})


def test_focal_loss_replaces_the_cross_entropy_of_masks():
    predictions, targets = random_predictions(), [random_target(2), random_target(1)]
    matcher = Matcher(sampler=AllPixels(), mask_loss=focal)
    criterion = small_criterion(matcher=matcher, sampler=AllPixels())
    plain, focused = (
        replace(criterion, mask_loss=loss)(predictions, targets)
        for loss in (criterion.mask_loss, focal)
    )
    assert focused["loss_mask"] < plain["loss_mask"]
    assert torch.equal(focused["loss_dice"], plain["loss_dice"])
    assert torch.equal(focused["loss_ce"], plain["loss_ce"])


def test_weights_scale_their_terms():
    predictions, targets = random_predictions(), [random_target(2), random_target(1)]
    criterion = small_criterion(sampler=AllPixels(), matcher=Matcher(sampler=AllPixels()))
    heavy = replace(criterion, class_weight=4.0, mask_weight=15.0, dice_weight=20.0)
    before, after = criterion(predictions, targets), heavy(predictions, targets)
    for kind, factor in (("loss_ce", 2.0), ("loss_mask", 3.0), ("loss_dice", 4.0)):
        torch.testing.assert_close(after[kind], factor * before[kind])


@pytest.mark.parametrize("objects", [(0, 0), (0, 3)])
def test_pictures_without_objects_still_reach_every_parameter(objects):
    tree = {
        "dim": 32,
        "backbone": {
            "kind": "swin",
            "embed_dim": 8,
            "depths": [1] * 4,
            "heads": [1] * 4,
            "window": 4,
        },
        "pixel_decoder": {"layers": 1, "heads": 4, "points": 2, "feedforward": 32},
        "transformer_decoder": {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": 6},
    }
    model = build_model(parse_config({"model": tree}, "test").model, CLASSES)
    targets = [random_target(count) for count in objects]
    targets = [t._replace(ids=F.pad(t.ids, (0, 32, 0, 40))) for t in targets]
    terms = small_criterion()(model(torch.rand(2, 3, 64, 64) * 255), targets)
    if not any(objects):
        assert all(value == 0 for name, value in terms.items() if "_ce" not in name)
    assert all(value.isfinite() for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_normalisers_of_a_batch_count_objects_and_class_weights():
    targets = [random_target(2), random_target(9), random_target(0)]
    masks, classes = small_criterion().normalisers(targets, queries=5)
    assert masks == 11
    assert classes == pytest.approx(2 + 5 + 0.1 * (3 + 0 + 5))


def test_terms_fall_as_their_normalisers_grow():
    predictions, targets = random_predictions(), [random_target(2), random_target(1)]
    criterion = small_criterion()
    own = criterion.normalisers(targets, QUERIES)
    doubled = Normalisers(2 * own.masks, 2 * own.classes)
    once, twice = (criterion(predictions, targets, n, [1, 2]) for n in (own, doubled))
    assert_same(twice, once, 0.5)
    assert_same(criterion(predictions, targets, None, [1, 2]), once)


def test_micro_batches_with_common_normalisers_add_up_to_the_batch():
    predictions = random_predictions(batch=4)
    targets = [random_target(count) for count in (2, 0, 5, 1)]
    criterion, seeds = small_criterion(), [11, 12, 13, 14]
    whole = criterion(predictions, targets, seeds=seeds)
    common = criterion.normalisers(targets, QUERIES)
    parts = [
        criterion(
            [Prediction(*(t[cut] for t in p)) for p in predictions],
            targets[cut],
            common,
            seeds[cut],
        )
        for cut in (slice(0, 1), slice(1, 4))
    ]
    assert_same({name: parts[0][name] + parts[1][name] for name in whole}, whole)


def test_seeds_make_the_draws_independent_of_the_order_of_pictures():
    predictions, targets = random_predictions(batch=3), [random_target(n) for n in (3, 1, 2)]
    criterion = small_criterion()
    order = [2, 0, 1]
    moved = [Prediction(*(t[order] for t in p)) for p in predictions]
    there = criterion(moved, [targets[i] for i in order], seeds=[[7, 8, 9][i] for i in order])
    assert_same(there, criterion(predictions, targets, seeds=[7, 8, 9]))


def test_seeds_alone_decide_the_draws():
    predictions, targets = random_predictions(), [random_target(2), random_target(3)]
    criterion = small_criterion()
    first = criterion(predictions, targets, seeds=[7, 8])
    torch.rand(3)
    assert_same(criterion(predictions, targets, seeds=[7, 8]), first)
    assert criterion(predictions, targets, seeds=[8, 7])["loss_mask"] != first["loss_mask"]


def test_loss_falls_as_the_mask_comes_closer_to_the_truth():
    ids = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.int32)
    ids[..., :12, :16] = 1
    target = Targets(ids, torch.tensor([1]))
    small = F.interpolate((ids > 0).float(), scale_factor=0.25, mode="nearest")
    features = (2 * small - 1)[:, :, None]  # (B, T, C = 1, h, w)
    classes = torch.zeros(1, 2, CLASSES + 1)
    losses = []
    for height in (9.0, 2.0, 0.5, -1.0):
        prediction = Prediction(classes, torch.tensor([[[height], [-9.0]]]), features)
        terms = small_criterion(sampler=AllPixels())([prediction], [target])
        losses.append(sum(terms.values()).item())
    assert losses == sorted(losses)


def test_predictions_that_are_not_finite_are_refused():
    predictions = random_predictions()
    predictions[1].class_logits[0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        small_criterion()(predictions, [random_target(2), random_target(1)])


@pytest.mark.parametrize("objects", [(2, 1), (0, 4), (0, 0), (9, 2)], ids=str)
def test_class_weights_give_torchs_weighted_mean(objects: tuple[int, int]) -> None:
    weights = torch.tensor([0.5, 2.0, 4.0])
    criterion = small_criterion(object_weights=weights)
    predictions, targets = random_predictions(), [random_target(count) for count in objects]
    terms = criterion(predictions, targets, None, [1, 2])
    matches = criterion.matcher(predictions, targets, make_generators([1, 2], 2, CPU))
    for layer, suffix in enumerate(("_0", "_1", "")):
        wanted = torch.full((2, QUERIES), CLASSES)
        for picture, match in enumerate(matches[layer]):
            wanted[picture, match.queries] = targets[picture].labels[match.objects]
        logits = predictions[layer].class_logits.flatten(0, 1)
        every = torch.cat([weights, torch.tensor([0.1])])
        exact = F.cross_entropy(logits, wanted.flatten(), every)
        if max(objects) <= QUERIES:  # else it is not known which objects are matched
            torch.testing.assert_close(terms[f"loss_ce{suffix}"], 2 * exact)
        assert terms[f"loss_ce{suffix}"].isfinite()


def test_weights_of_one_are_no_weights() -> None:
    predictions, targets = random_predictions(), [random_target(3), random_target(9)]
    plain = small_criterion()(predictions, targets, None, [1, 2])
    ones = small_criterion(object_weights=torch.ones(CLASSES))
    assert_same(ones(predictions, targets, None, [1, 2]), plain)


def test_weighted_micro_batches_with_common_normalisers_add_up_to_the_batch() -> None:
    predictions = random_predictions(batch=4)
    targets = [random_target(count) for count in (2, 0, 9, 1)]
    criterion = small_criterion(object_weights=torch.tensor([0.3, 1.0, 3.0]))
    common = criterion.normalisers(targets, QUERIES)
    halves = [criterion.normalisers(targets[cut], QUERIES) for cut in (slice(0, 2), slice(2, 4))]
    assert sum(half.classes for half in halves) == pytest.approx(float(common.classes))
    whole = criterion(predictions, targets, seeds=[1, 2, 3, 4])
    parts = [
        criterion(
            [Prediction(*(t[cut] for t in p)) for p in predictions], targets[cut], common, seeds
        )
        for cut, seeds in ((slice(0, 1), [1]), (slice(1, 4), [2, 3, 4]))
    ]
    assert_same({name: parts[0][name] + parts[1][name] for name in whole}, whole)


def test_some_masks_at_a_time_give_the_same_loss(monkeypatch):
    torch.manual_seed(0)
    predictions, targets = random_predictions(), [random_target(5), random_target(3)]
    whole = small_criterion()(predictions, targets, seeds=[1, 2])
    monkeypatch.setattr(masks, "AT_ONCE", 2)
    monkeypatch.setattr(sampling, "AT_ONCE", 2)
    monkeypatch.setattr(matcher, "VALUES", 2)
    assert_same(small_criterion()(predictions, targets, seeds=[1, 2]), whole)
