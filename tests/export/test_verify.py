"""What a proof lets pass: rounding, and what PyTorch itself is unsteady about; nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mask2former.export.plan import Plan
from mask2former.export.verify import compare_results, fit, pictures, verify
from mask2former.structures import Prediction

SIZE = (64, 96)


class Step:
    """Four queries; the first jumps where the pictures' mean passes that of these very pictures."""

    network = SimpleNamespace(mean=torch.zeros(3))
    value_range = (0.0, 255.0)

    def __init__(self) -> None:
        self.edges = {batch: pictures(3, None, SIZE, batch).double().mean() for batch in (1, 3)}

    def __call__(self, images: Tensor) -> Prediction:
        batch = images.shape[0]
        logits = torch.zeros(batch, 4, 3)
        logits[:, 0] = 5.0 * (images.double().mean() > self.edges[batch])
        return Prediction(logits, torch.ones(batch, 4, 1), torch.ones(batch, 1, 1, 16, 24))


@pytest.fixture
def plan() -> Plan:
    return Plan("onnx", size=SIZE)


def answering(graph: Step, query: int, error: float):
    """A runtime that is off by so much for one query, of each picture given alone."""

    def run(images):
        logits, embeddings, features = graph(torch.from_numpy(images))
        logits = torch.zeros_like(logits)
        logits[:, query] += error
        return [part.numpy() for part in (logits, embeddings, features)]

    return run


@pytest.mark.parametrize("query", [0, 3])
def test_rounding_passes(plan: Plan, query: int) -> None:
    graph = Step()
    checks = list(verify(answering(graph, query, 5e-4), graph, plan))
    assert len(checks) == 2
    assert all(check.difference == pytest.approx(5e-4) for check in checks)
    assert all(check.steady == (check.difference, 0.0) for check in checks)
    assert "steady" not in str(checks[0])


def test_what_pytorch_is_unsteady_about_passes(plan: Plan) -> None:
    graph = Step()
    checks = list(verify(answering(graph, 0, 5.0), graph, plan))
    assert all(check.difference == pytest.approx(5.0) for check in checks)
    assert all(check.steady == (0.0, 0.0) for check in checks)
    assert "(where steady: 0.0e+00, 0.000 %)" in str(checks[0])


@pytest.mark.parametrize(("query", "error"), [(3, 0.01), (0, 99.0), (3, float("nan"))])
def test_else_it_does_not(plan: Plan, query: int, error: float) -> None:
    graph = Step()
    with pytest.raises(ValueError, match=r"is wrong \(64x96, batch 1: .* is not kept"):
        list(verify(answering(graph, query, error), graph, plan))


SCORES = torch.tensor([[0.9, 0.6, 0.6, 0.2]])
LABELS = torch.tensor([[4, 5, 6, 4]])


@pytest.mark.parametrize(
    ("labels", "far"),
    [
        ([4, 5, 6, 4], 0.0),
        ([4, 6, 5, 4], 0.0),  # two that are equally sure have changed places
        ([4, 5, 6, 7], 0.2),  # a label that nobody gave
        ([5, 5, 6, 4], 0.3),  # that of one which is less sure
    ],
)
def test_labels_count_by_how_sure_they_are(labels: list[int], far: float) -> None:
    masks = torch.zeros(1, 4, 8, 8, dtype=torch.bool)
    found = (SCORES, torch.tensor([labels]), masks)
    differences, pixels = compare_results(found, (SCORES, LABELS, masks))
    assert differences.max().item() == pytest.approx(far)
    assert pixels == 0


def test_pictures_have_the_range_of_the_model() -> None:
    shown = pictures(3, None, SIZE, 1)
    wide = fit(shown, (-100.0, 65435.0))
    torch.testing.assert_close(wide, shown * 257 - 100)


def test_masks_may_change_places_where_instances_are_equally_sure() -> None:
    masks = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    labels = torch.zeros(1, 3, dtype=torch.int32)
    swapped = masks[:, [1, 0, 2]]
    for scores, is_told in (([0.5, 0.49999, 0.1], False), ([0.5, 0.49, 0.1], True)):
        expected = (torch.tensor([scores]), labels, masks)
        _, pixels = compare_results((expected[0], labels, swapped), expected)
        assert (pixels > 0.1) == is_told
    flipped = masks.clone()
    flipped[0, 2, 0, :4] ^= True
    expected = (torch.tensor([[0.5, 0.49999, 0.1]]), labels, masks)
    _, pixels = compare_results((expected[0], labels, flipped[:, [1, 0, 2]]), expected)
    assert pixels == pytest.approx(4 / 192)
