"""Post-processing in the graph follows the official rules that `postprocess` follows."""

import numpy as np
import pytest
import torch

from mask2former.export.result import Rule, best_masks, label_map, segments
from mask2former.postprocess.instance import instances
from mask2former.postprocess.panoptic import panoptic
from mask2former.postprocess.semantic import resize_scores, semantic_map
from mask2former.structures import Prediction, Sizes

SIZES = Sizes((64, 96), (64, 96))
IS_THING = (True, True, False, False)


@pytest.fixture
def prediction() -> Prediction:
    features = torch.nn.functional.interpolate(
        torch.randn(1, 8, 4, 6), size=(16, 24), mode="bicubic"
    )
    return Prediction(2 * torch.randn(1, 12, 5), torch.randn(1, 12, 8), features[:, None])


def test_label_map_is_the_semantic_map(prediction):
    expected = semantic_map(prediction, SIZES, resize_scores)
    assert (label_map(prediction).numpy() != expected.labels).mean() < 1e-3


@pytest.mark.parametrize("count", [7, 100])
def test_best_masks_are_the_instances(prediction, count):
    expected = instances(prediction, SIZES, is_thing=torch.tensor(IS_THING), max_detections=count)
    scores, labels, masks = (part[0].numpy() for part in best_masks(prediction, IS_THING, count))
    some = len(expected.scores)
    assert scores.shape == (count,)
    np.testing.assert_allclose(scores[:some], expected.scores, atol=1e-5)
    assert not scores[some:].any()
    np.testing.assert_array_equal(labels[:some], expected.labels)
    assert (masks[:some] != expected.masks[:, 0]).mean() < 1e-3


@pytest.mark.parametrize(("threshold", "overlap"), [(0.0, 0.0), (0.4, 0.5), (0.99, 0.9)])
def test_segments_are_the_panoptic_map(prediction, threshold, overlap):
    expected = panoptic(
        prediction,
        SIZES,
        is_thing=torch.tensor(IS_THING),
        threshold=threshold,
        overlap_threshold=overlap,
    )
    ids, labels, scores = (
        part[0].numpy() for part in segments(prediction, IS_THING, threshold, overlap)
    )
    numbers = np.flatnonzero(scores)
    assert [labels[n] for n in numbers] == [segment.label for segment in expected.segments]
    np.testing.assert_allclose(scores[numbers], [s.score for s in expected.segments], atol=1e-6)
    renumbered = np.zeros(ids.max() + 1, int)
    renumbered[numbers + 1] = np.arange(len(numbers)) + 1
    assert (renumbered[ids] != expected.ids[0]).mean() < 1e-3


def test_rule_has_the_models_settings(build):
    _, card = build("panoptic")
    rule = Rule.of_card(card)
    assert (rule.task, rule.max_detections) == ("panoptic", 5)
