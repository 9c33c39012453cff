"""Panoptic maps against the official rule, written out one query at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mask2former.postprocess.panoptic import panoptic
from mask2former.postprocess.tiles import TILE_PIXELS
from mask2former.structures import Panoptic, Prediction, Segment, Sizes


def random_case(seed: int) -> tuple[Prediction, Sizes, Tensor, dict[str, float]]:
    """Confident queries of things and stuff, smooth masks, all kinds of sizes and thresholds."""
    draw = torch.Generator().manual_seed(seed)
    pick = lambda low, high: int(torch.randint(low, high, (), generator=draw))  # noqa: E731
    queries, classes, frames = pick(1, 12), pick(1, 5), pick(1, 3)
    height, width = 8 * pick(1, 3), 8 * pick(1, 3)
    coarse = torch.randn(frames, 4, 3, 3, generator=draw)
    prediction = Prediction(
        4 * torch.randn(1, queries, classes + 1, generator=draw),
        3 * torch.randn(1, queries, 4, generator=draw),
        F.interpolate(coarse, (height, width), mode="bicubic")[None],
    )
    network = pick(4 * height - 31, 4 * height + 1), pick(4 * width - 31, 4 * width + 1)
    limits = {"threshold": pick(0, 9) / 10, "overlap_threshold": pick(0, 10) / 10}
    is_thing = torch.rand(classes, generator=draw) < 0.5
    return prediction, Sizes(network, (pick(1, 70), pick(1, 70))), is_thing, limits


def naive_panoptic(
    prediction: Prediction,
    sizes: Sizes,
    is_thing: Tensor,
    threshold: float,
    overlap_threshold: float,
) -> tuple[Panoptic, np.ndarray]:
    """The official loop, and which pixels rounding might decide otherwise."""
    scores, labels = prediction.class_logits[0].softmax(-1).max(-1)
    keep = (labels != len(is_thing)) & (scores > threshold)
    scores, labels = scores[keep].numpy(), labels[keep].tolist()
    logits = prediction.mask_logits()[0, keep]
    ids = np.zeros((logits.shape[1], *sizes.original), np.int32)
    if not labels:
        return Panoptic(ids, []), ids > 0
    logits = F.interpolate(logits, [4 * side for side in logits.shape[-2:]], mode="bilinear")
    logits = logits[..., : sizes.network[0], : sizes.network[1]]
    own = F.interpolate(logits, sizes.original, mode="bilinear").sigmoid().numpy()
    shares = scores[:, None, None, None] * own
    owner = shares.argmax(0)
    ranked = np.sort(np.concatenate([shares, np.full_like(shares[:1], -1)]), 0)
    unsure = (ranked[-1] - ranked[-2] < 1e-5) | (np.abs(own - 0.5) < 1e-5).any(0)
    segments: list[Segment] = []
    for query, label in enumerate(labels):
        assigned, original = owner == query, own[query] >= 0.5
        mask = assigned & original
        if not (assigned.any() and original.any() and mask.any()):
            continue
        if assigned.sum() / original.sum() < overlap_threshold:
            continue
        thing = bool(is_thing[label])
        same = [s for s in segments if s.label == label] if not thing else []
        area = int(mask.sum())
        if same:
            ids[mask] = same[0].id
            segments[same[0].id - 1] = same[0]._replace(area=same[0].area + area)
            continue
        segments.append(Segment(len(segments) + 1, label, float(scores[query]), area, thing))
        ids[mask] = len(segments)
    return Panoptic(ids, segments), unsure


@pytest.mark.parametrize("pixels", [300, 600_000])
def test_panoptic_follows_the_official_rule(pixels, monkeypatch):
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    kinds = {"nothing": 0, "merged": 0, "hidden": 0, "thing": 0}
    for seed in range(60):
        prediction, sizes, is_thing, limits = random_case(seed)
        expected, unsure = naive_panoptic(prediction, sizes, is_thing, **limits)
        found = panoptic(prediction, sizes, is_thing=is_thing, **limits)
        assert found.ids.shape == (prediction.mask_features.shape[1], *sizes.original)
        assert found.ids.dtype == np.int32
        assert not ((found.ids != expected.ids) & ~unsure).any(), f"case {seed}"
        assert len(found.segments) == len(expected.segments)
        for ours, theirs in zip(found.segments, expected.segments, strict=True):
            assert (ours.id, ours.label, ours.is_thing) == (
                theirs.id,
                theirs.label,
                theirs.is_thing,
            )
            assert ours.score == pytest.approx(theirs.score, abs=1e-6)
            assert ours.area == (found.ids == ours.id).sum()
        sure = int(
            (prediction.class_logits[0].softmax(-1)[:, :-1] > limits["threshold"]).any(1).sum()
        )
        kinds["nothing"] += not found.segments
        kinds["hidden"] += len(found.segments) < sure
        kinds["thing"] += any(s.is_thing for s in found.segments)
        kinds["merged"] += not all(s.is_thing for s in found.segments)
    assert all(kinds.values()), f"the cases miss a branch: {kinds}"


def draw_cells(queries: list[tuple[int, float, list[str]]], classes: int = 2) -> Prediction:
    """Queries (label, score, rows of an 8 x 8 picture), each cell of `#` one pixel at (8, 8)."""
    logits = torch.full((1, len(queries), classes + 1), -30.0)
    cells = torch.full((len(queries), 8, 8), -20.0)
    for query, (label, score, rows) in enumerate(queries):
        logits[0, query, label] = torch.tensor(score).log()
        logits[0, query, classes] = torch.tensor(1 - score).log()
        for row, text in enumerate(rows):
            for column, mark in enumerate(text):
                if mark == "#":
                    cells[query, row, column] = 20.0
    return Prediction(logits, torch.eye(len(queries))[None], cells[None, None])


CELLS = Sizes((32, 32), (8, 8))
THING_AND_STUFF = torch.tensor([True, False])


BEHIND = (1, 0.85, ["#" * 8] * 8)  # stuff everywhere, which takes what nobody else does


@pytest.mark.parametrize(("hidden", "kept"), [(1, True), (2, True), (3, False)])
def test_segment_stays_at_exactly_the_overlap_threshold(hidden, kept):
    """Ten pixels of which two are hidden keep 0.8 of themselves: not less than the threshold."""
    prediction = draw_cells([BEHIND, (0, 0.9, ["#####"] * 2), (0, 0.95, ["#" * hidden])])
    found = panoptic(prediction, CELLS, is_thing=THING_AND_STUFF, overlap_threshold=0.8)
    areas = [54, 10 - hidden, hidden] if kept else [54, hidden]
    assert [s.area for s in found.segments] == areas


def test_hidden_segment_leaves_its_pixels_void():
    prediction = draw_cells([BEHIND, (0, 0.9, ["#####"] * 2), (0, 0.95, ["#####"])])
    found = panoptic(prediction, CELLS, is_thing=THING_AND_STUFF)
    assert found.ids[0, :3, :5].tolist() == [[2] * 5, [0] * 5, [1] * 5]


def test_stuff_of_one_class_is_one_segment_and_things_stay_apart():
    rows = [["##"], ["", "", "##"], ["", "", "", "", "###"], ["", "", "", "", "", "", "####"]]
    labels = [1, 0, 1, 0]
    prediction = draw_cells([(label, 0.9, row) for label, row in zip(labels, rows, strict=True)])
    found = panoptic(prediction, CELLS, is_thing=THING_AND_STUFF)
    assert [(s.id, s.label, s.area, s.is_thing) for s in found.segments] == [
        (1, 1, 5, False),
        (2, 0, 2, True),
        (3, 0, 4, True),
    ]
    assert found.ids[0, 4, :3].tolist() == [1, 1, 1]
    assert found.ids[0, 6, :4].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("pixels", [300, 600_000])
def test_first_of_two_equal_queries_takes_the_pixels(pixels, monkeypatch):
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    prediction = draw_cells([BEHIND, (0, 0.9, ["###"]), (1, 0.9, ["###"])])
    found = panoptic(prediction, CELLS, is_thing=THING_AND_STUFF)
    assert [(s.label, s.area) for s in found.segments] == [(1, 61), (0, 3)]


def test_score_must_exceed_the_threshold():
    prediction = draw_cells([(0, 0.6, ["###"])])
    limit = prediction.class_logits[0].softmax(-1)[0, 0].item()
    at, below = (
        panoptic(prediction, CELLS, is_thing=THING_AND_STUFF, threshold=t)
        for t in (limit, limit - 1e-3)
    )
    assert not at.segments
    assert not at.ids.any()
    assert len(below.segments) == 1


def test_area_of_a_clip_counts_all_frames():
    prediction = draw_cells([(0, 0.9, ["###"])])
    clip = prediction._replace(mask_features=prediction.mask_features.expand(-1, 2, -1, -1, -1))
    found = panoptic(clip, CELLS, is_thing=THING_AND_STUFF)
    assert found.ids.shape == (2, 8, 8)
    assert [s.area for s in found.segments] == [6]


def test_no_query_gives_an_empty_map():
    prediction = draw_cells([(2, 0.9, ["###"])])
    found = panoptic(prediction, CELLS, is_thing=THING_AND_STUFF)
    assert found.ids.shape == (1, 8, 8)
    assert not found.ids.any()
    assert found.segments == []


def test_panoptic_does_not_depend_on_the_padding():
    """Beyond the ring that interpolation touches, whatever stands in the padding is cut off."""
    prediction, _, is_thing, _ = random_case(1)
    ringed = F.pad(prediction.mask_features[0], (0, 1, 0, 1), mode="replicate")
    wide = F.pad(ringed, (0, 7, 0, 7), value=1e3)[None]
    height, width = (4 * side for side in prediction.mask_features.shape[-2:])
    plain, padded = (
        panoptic(
            prediction._replace(mask_features=features),
            Sizes((height, width), (37, 53)),
            is_thing=is_thing,
            threshold=0.3,
            overlap_threshold=0.3,
        )
        for features in (prediction.mask_features, wide)
    )
    assert plain.segments
    assert (plain.ids == padded.ids).all()
    assert plain.segments == padded.segments
