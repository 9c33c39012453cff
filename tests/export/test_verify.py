"""What a proof lets pass: rounding, and what PyTorch itself is unsteady about; nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mask2former.export.plan import Plan
from mask2former.export.verify import pictures, verify
from mask2former.structures import Prediction

SIZE = (64, 96)


class Step:
    """Four queries; the first jumps where the pictures' mean passes that of these very pictures."""

    network = SimpleNamespace(mean=torch.zeros(3))

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
    assert all(check.difference == check.steady == pytest.approx(5e-4) for check in checks)
    assert "steady" not in str(checks[0])


def test_what_pytorch_is_unsteady_about_passes(plan: Plan) -> None:
    graph = Step()
    checks = list(verify(answering(graph, 0, 5.0), graph, plan))
    assert all(check.difference == pytest.approx(5.0) and check.steady == 0 for check in checks)
    assert "(0.0e+00 where steady)" in str(checks[0])


@pytest.mark.parametrize(("query", "error"), [(3, 0.01), (0, 50.0), (3, float("nan"))])
def test_else_it_does_not(plan: Plan, query: int, error: float) -> None:
    graph = Step()
    with pytest.raises(ValueError, match=r"is wrong \(64x96, batch 1: .* was deleted"):
        list(verify(answering(graph, query, error), graph, plan))
